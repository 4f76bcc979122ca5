locals {
  listeners = local.balanced ? {
    http = { port = 80, pool = "PROXYV2", role = "worker", member_port = 8080 }
    web  = { port = 443, pool = "PROXYV2", role = "worker", member_port = 8443 }
    api  = { port = 7443, pool = "TCP", role = "control_plane", member_port = 6443 }
  } : {}
}

resource "openstack_lb_loadbalancer_v2" "this" {
  count = local.balanced ? 1 : 0

  name          = var.cluster
  description   = "way in of ${var.cluster}"
  vip_subnet_id = local.subnet_id
  # The provider `ovn` knows neither the PROXY protocol nor health checks of TLS ports in all clouds.
  loadbalancer_provider = "amphora"
  tags                  = local.tags

  depends_on = [openstack_networking_router_interface_v2.hosts]
}

resource "openstack_lb_listener_v2" "this" {
  for_each = local.listeners

  name            = "${var.cluster}-${each.key}"
  loadbalancer_id = openstack_lb_loadbalancer_v2.this[0].id
  protocol        = "TCP"
  protocol_port   = each.value.port
  allowed_cidrs   = var.openstack.allow_from
  # Watches are silent for long. In milliseconds.
  timeout_client_data = 3600000
  timeout_member_data = 3600000
  tags                = local.tags
}

resource "openstack_lb_pool_v2" "this" {
  for_each = local.listeners

  name        = "${var.cluster}-${each.key}"
  listener_id = openstack_lb_listener_v2.this[each.key].id
  protocol    = each.value.pool
  lb_method   = "LEAST_CONNECTIONS"
  tags        = local.tags
}

resource "openstack_lb_monitor_v2" "this" {
  for_each = local.listeners

  name        = "${var.cluster}-${each.key}-${var.cluster_id}"
  pool_id     = openstack_lb_pool_v2.this[each.key].id
  type        = "TCP"
  delay       = 5
  timeout     = 3
  max_retries = 2
}

resource "openstack_lb_members_v2" "this" {
  for_each = local.listeners

  pool_id = openstack_lb_pool_v2.this[each.key].id

  dynamic "member" {
    for_each = { for name, host in local.hosts : name => host.address if host.role == each.value.role }
    content {
      name          = "${var.cluster}-${member.key}"
      address       = member.value
      protocol_port = each.value.member_port
      subnet_id     = local.subnet_id
    }
  }
}

resource "openstack_networking_floatingip_v2" "balancer" {
  count = local.balanced ? 1 : 0

  pool        = var.openstack.external_network
  description = "way in of ${var.cluster}"
  tags        = local.tags
}

resource "openstack_networking_floatingip_associate_v2" "balancer" {
  count = local.balanced ? 1 : 0

  floating_ip = openstack_networking_floatingip_v2.balancer[0].address
  port_id     = openstack_lb_loadbalancer_v2.this[0].vip_port_id

  depends_on = [openstack_networking_router_interface_v2.hosts]
}
