output "cluster" {
  description = "The cluster, in the shape that every cloud gives."
  value = {
    hosts = {
      for name, host in local.hosts : name => {
        role           = host.role
        address        = host.address
        access_address = host.address
        zone           = null
        instance_name  = incus_instance.host[name].name
        volumes = {
          for key, volume in host.volumes : key => {
            mount  = volume.mount
            kind   = "filesystem"
            serial = null
          }
        }
      }
    }
    network = {
      name    = incus_network.hosts.name
      hosts   = var.network.hosts
      gateway = local.gateway
      domain  = local.domain
    }
    bastion = null
    entry = {
      address     = one([for host in local.hosts : host.address if host.role == "services"])
      floating_ip = null
    }
  }
}
