# No prevent_destroy: it cannot depend on a variable, and `down --with-data` must be able to remove
# volumes. That nothing else does is the plan gate's business (src/armillary/gate.py).
resource "incus_storage_volume" "this" {
  for_each = var.volumes

  name        = "${var.cluster}-${each.key}"
  pool        = var.pool
  description = each.value.shared ? "shared space ${each.key} of ${var.cluster}" : "volume ${each.key} of ${var.cluster}"

  # A filesystem volume may be attached to any number of instances; what differs for a shared one
  # is only that several hosts name it.
  config = {
    size = "${each.value.size_gib}GiB"
  }
}
