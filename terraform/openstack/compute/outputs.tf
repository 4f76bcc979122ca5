output "cluster" {
  description = "The cluster, in the shape that every cloud gives."
  value = {
    hosts = {
      for name, host in local.hosts : name => {
        role    = host.role
        address = host.address
        # From here; through the bastion where there is one.
        access_address = (
          name == local.services || var.openstack.access == "direct"
          ? lookup(local.floating_ips, name, host.address)
          : host.address
        )
        floating_ip   = lookup(local.floating_ips, name, null)
        zone          = openstack_compute_instance_v2.host[name].availability_zone
        instance_name = openstack_compute_instance_v2.host[name].name
        instance_id   = openstack_compute_instance_v2.host[name].id
        volumes = merge(
          {
            for key, volume in host.volumes : key => {
              mount  = volume.mount
              kind   = volume.shared ? "nfs" : "block"
              serial = volume.shared ? null : var.data[volume.volume].id
              server = volume.shared ? local.hosts[local.services].address : null
              export = volume.shared ? "${var.openstack.exports}/${key}" : null
            }
          },
          {
            for key in keys(local.shared) : key => {
              mount  = "${var.openstack.exports}/${key}"
              kind   = "block"
              serial = var.data[key].id
              server = null
              export = "${var.openstack.exports}/${key}"
            } if name == local.services
          },
        )
      }
    }
    network = {
      name    = local.make_network ? var.network.name : var.openstack.network.name
      hosts   = var.network.hosts
      gateway = local.gateway
      domain  = local.domain
      mtu     = local.network_mtu
    }
    # The host ssh goes through; null: straight to each.
    bastion = var.openstack.access == "bastion" ? { host = local.services, address = local.floating_ips[local.services] } : null
    # Where users and kubectl come in.
    entry = local.balanced ? {
      address     = openstack_lb_loadbalancer_v2.this[0].vip_address
      floating_ip = openstack_networking_floatingip_v2.balancer[0].address
      } : {
      address     = local.hosts[local.services].address
      floating_ip = local.floating_ips[local.services]
    }
  }
}
