locals {
  domain = coalesce(var.domain, "${var.cluster}.armillary.internal")
  tags   = ["armillary", "armillary-cluster=${var.cluster_id}"]

  services = one([for name, host in var.hosts : name if host.role == "services"])
  balanced = var.openstack.load_balancer == "octavia"
  brokers  = [for name, host in var.hosts : name if host.role == "kafka"]

  # Whose hosts are nodes of Kubernetes.
  kubernetes = ["control_plane", "worker"]

  hosts = {
    for name, host in var.hosts : name => merge(host, {
      address    = cidrhost(var.network.hosts, host.slot)
      kubernetes = contains(local.kubernetes, host.role)
      groups     = concat(["hosts", host.role], contains(local.kubernetes, host.role) ? ["kubernetes"] : [])
    })
  }

  images = { for name, found in data.openstack_images_image_ids_v2.host : name => try(found.ids[0], null) }

  floating_ips = {
    for name, address in var.openstack.floating_ips :
    name => address == "new" ? openstack_networking_floatingip_v2.host[name].address : address
  }

  # A volume is attached to one host. That of a shared space is the services host's, which exports it.
  own = merge([
    for name, host in var.hosts : {
      for volume in values(host.volumes) : volume.volume => name if !volume.shared
    }
  ]...)
  shared = {
    for space in distinct(flatten([
      for host in values(var.hosts) : [for volume in values(host.volumes) : volume.volume if volume.shared]
    ])) : space => local.services
  }
}

# Of all images of a name the newest, or null: hosts that are there need none, so that a cloud may
# take an old image away.
data "openstack_images_image_ids_v2" "host" {
  for_each = toset(distinct([for host in values(var.hosts) : host.image]))

  name = each.key
  sort = "created_at:desc"
}

check "images" {
  assert {
    condition     = alltrue([for id in values(local.images) : id != null])
    error_message = "The cloud has no image ${join(" or ", [for name, id in local.images : name if id == null])}. Hosts that are there stay as they are; none can be made."
  }
}

# Control planes that are added later must be in it with the first, which keeps its group for life:
# so it is there from the start.
resource "openstack_compute_servergroup_v2" "control_plane" {
  name     = "${var.cluster}-control-plane-${var.cluster_id}"
  policies = [var.openstack.server_group_policy]
}

resource "openstack_compute_servergroup_v2" "kafka" {
  count = length(local.brokers) > 0 ? 1 : 0

  name     = "${var.cluster}-kafka-${var.cluster_id}"
  policies = [var.openstack.server_group_policy]
}

# What a host is made of, as cluster.yml names it. A change here makes a host anew, which the plan
# gate lets nobody do by surprise.
resource "terraform_data" "made_of" {
  for_each = local.hosts

  input = {
    image       = each.value.image
    boot_volume = each.value.boot_volume == null ? "" : coalesce(each.value.boot_volume.type, "default")
  }
}

resource "openstack_compute_instance_v2" "host" {
  for_each = local.hosts

  name              = "${var.cluster}-${each.key}"
  flavor_name       = each.value.flavor
  image_id          = each.value.boot_volume == null ? local.images[each.value.image] : null
  availability_zone = each.value.availability_zone
  metadata          = { armillary-cluster = var.cluster_id, armillary-role = each.value.role }
  tags              = local.tags
  # File systems are unmounted before the host goes.
  stop_before_destroy = true

  user_data = format("#cloud-config\n%s", yamlencode({
    hostname         = each.key
    fqdn             = "${each.key}.${local.domain}"
    manage_etc_hosts = "localhost"
    apt              = { preserve_sources_list = true }
    locale           = false
    # cloud-init prints the host's public keys on the console, where Armillary reads them.
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

  network {
    port = openstack_networking_port_v2.host[each.key].id
  }

  dynamic "block_device" {
    for_each = each.value.boot_volume == null ? [] : [each.value.boot_volume]
    content {
      uuid                  = local.images[each.value.image]
      source_type           = "image"
      destination_type      = "volume"
      volume_size           = each.value.disk_gib
      volume_type           = block_device.value.type
      boot_index            = 0
      delete_on_termination = true
    }
  }

  dynamic "scheduler_hints" {
    for_each = concat(
      each.value.role == "control_plane" ? [openstack_compute_servergroup_v2.control_plane.id] : [],
      each.value.role == "kafka" ? openstack_compute_servergroup_v2.kafka[*].id : [],
    )
    content {
      group = scheduler_hints.value
    }
  }

  lifecycle {
    # A cloud that gets a newer image of the same name, or a release of Armillary with other user
    # data, which is read at the first boot only, must not make hosts anew.
    ignore_changes       = [image_id, block_device, user_data]
    replace_triggered_by = [terraform_data.made_of[each.key]]
  }

  # Without the router there is no metadata service in some clouds, and cloud-init asks it at boot.
  depends_on = [openstack_networking_router_interface_v2.hosts]
}

resource "openstack_compute_volume_attach_v2" "this" {
  for_each = merge(local.own, local.shared)

  instance_id = openstack_compute_instance_v2.host[each.value].id
  volume_id   = var.data[each.key].id
}
