locals {
  domain  = coalesce(var.domain, "${var.cluster}.armillary.internal")
  gateway = cidrhost(var.network.hosts, 1)
  prefix  = split("/", var.network.hosts)[1]

  # What a kubelet needs of the container it lives in. On cgroup v1 `force` mounts cpu and cpuacct
  # apart, as runc wants them, and the devices lines let privileged pods start.
  raw_lxc = join("\n", concat(
    [
      "lxc.mount.auto=",
      "lxc.mount.auto=proc:rw sys:rw cgroup:rw${var.host_quirks.cgroup_v1 ? ":force" : ""}",
      "lxc.cap.drop=",
    ],
    var.host_quirks.cgroup_v1 ? ["lxc.cgroup.devices.deny=", "lxc.cgroup.devices.allow=a"] : [],
  ))
  kubernetes_config = {
    "security.privileged" = "true"
    "raw.lxc"             = local.raw_lxc
  }

  hosts = {
    for name, host in var.hosts : name => merge(host, {
      address    = cidrhost(var.network.hosts, host.slot)
      kubernetes = contains(["control_plane", "worker"], host.role)
    })
  }
}

resource "incus_network" "hosts" {
  name        = var.network.name
  description = "hosts of ${var.cluster}"

  config = {
    "dns.domain"   = local.domain
    "ipv4.address" = "${local.gateway}/${local.prefix}"
    "ipv4.nat"     = "true"
    "ipv6.address" = "none"
  }
}

resource "incus_instance" "host" {
  for_each = local.hosts

  name        = "${var.cluster}-${each.key}"
  description = "${each.value.role} of ${var.cluster}"
  image       = each.value.image
  profiles    = []

  config = merge(
    {
      "limits.cpu"    = tostring(each.value.cpus)
      "limits.memory" = "${each.value.memory_mib}MiB"
      # systemd's sandboxes of services mount in name spaces of their own.
      "security.nesting" = "true"
      "cloud-init.user-data" = format("#cloud-config\n%s", yamlencode({
        hostname = each.key
        fqdn     = "${each.key}.${local.domain}"
        # Each of these only costs time at boot, or undoes what the image has.
        apt             = { preserve_sources_list = true }
        growpart        = { mode = "off" }
        locale          = false
        resize_rootfs   = false
        ssh_genkeytypes = ["ed25519"]
        users = [{
          name = "armillary"
          # Neither user nor group 1000, which users' pods run as: what breaks out of one must not be
          # an administrator.
          uid                 = 990
          primary_group       = "users"
          shell               = "/bin/bash"
          sudo                = "ALL=(ALL) NOPASSWD:ALL"
          ssh_authorized_keys = [trimspace(var.ssh_public_key)]
        }]
      }))
    },
    each.value.kubernetes ? local.kubernetes_config : {},
  )

  device {
    name = "root"
    type = "disk"
    properties = {
      path = "/"
      pool = var.pool
      size = "${each.value.disk_gib}GiB"
    }
  }

  device {
    name = "eth0"
    type = "nic"
    properties = {
      "ipv4.address" = each.value.address
      name           = "eth0"
      network        = incus_network.hosts.name
    }
  }

  dynamic "device" {
    # From the first boot: services cannot open one that is added later.
    for_each = each.value.kubernetes ? ["/dev/kmsg"] : []
    content {
      name = "kmsg"
      type = "unix-char"
      properties = {
        path   = device.value
        source = device.value
      }
    }
  }

  dynamic "device" {
    for_each = each.value.volumes
    content {
      name = "volume-${device.key}"
      type = "disk"
      properties = {
        path = device.value.mount
        # Null while the data root has yet to make the volume: a plan goes on without it.
        pool   = coalesce(var.data[device.value.volume].pool, var.pool)
        source = var.data[device.value.volume].name
      }
    }
  }

  wait_for {
    type = "ipv4"
  }
}
