locals {
  metadata = { armillary-cluster = var.cluster_id }

  containers = { for name in keys(var.openstack.containers) : name => "${var.cluster}-${name}" }

  # https://docs.openstack.org/swift/latest/middleware.html#module-swift.common.middleware.container_quotas
  quotas = {
    for name, container in var.openstack.containers :
    name => container.quota_bytes == null ? {} : { quota-bytes = tostring(container.quota_bytes) }
  }
}

# No prevent_destroy: it cannot depend on a variable, and `down --with-data` must be able to remove
# volumes. That nothing else does is the plan gate's business (src/armillary/gate.py).
resource "openstack_blockstorage_volume_v3" "this" {
  for_each = var.volumes

  name                 = "${var.cluster}-${each.key}"
  description          = each.value.shared ? "shared space ${each.key} of ${var.cluster}" : "volume ${each.key} of ${var.cluster}"
  size                 = each.value.size_gib
  volume_type          = each.value.type
  availability_zone    = var.openstack.availability_zone
  enable_online_resize = true
  metadata             = local.metadata

  lifecycle {
    # A volume is never made anew for its zone; and drivers of Cinder write into the metadata, too.
    ignore_changes = [availability_zone, metadata]
  }
}

# No force_destroy: a container that holds something is not deleted, and says so.
resource "openstack_objectstorage_container_v1" "this" {
  for_each = local.containers

  name     = each.value
  metadata = merge(local.metadata, local.quotas[each.key])
}

# Where Swift's S3 keeps the parts of uploads. It makes it itself where it is missing, and then nobody's `down` would know of it.
resource "openstack_objectstorage_container_v1" "segments" {
  for_each = { for name, container in var.openstack.containers : name => local.containers[name] if container.segments }

  name     = "${each.value}+segments"
  metadata = merge(local.metadata, local.quotas[each.key])
}

# Its project is in the paths the credential may use.
data "openstack_identity_auth_scope_v3" "this" {
  count = length(local.containers) > 0 ? 1 : 0

  name = var.cluster
}

resource "openstack_identity_application_credential_v3" "containers" {
  count = length(local.containers) > 0 ? 1 : 0

  name         = "${var.cluster}-${var.cluster_id}"
  description  = "containers of ${var.cluster}"
  unrestricted = false

  dynamic "access_rules" {
    for_each = merge([
      for container in values(local.containers) : {
        for rule in setproduct(["GET", "HEAD", "PUT", "POST", "DELETE"], ["", "/**"]) :
        "${rule[0]} ${container}${rule[1]}" => { method = rule[0], path = "${container}${rule[1]}" }
      }
    ]...)
    content {
      service = "object-store"
      method  = access_rules.value.method
      path    = "/v1/AUTH_${data.openstack_identity_auth_scope_v3.this[0].project_id}/${access_rules.value.path}"
    }
  }
}

# Keystone has neither names nor rules for these: each opens as much as the others, but one can be taken back alone.
resource "openstack_identity_ec2_credential_v3" "s3" {
  for_each = toset(var.openstack.s3)
}
