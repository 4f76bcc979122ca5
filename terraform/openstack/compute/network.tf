locals {
  # A network is made unless cluster.yml names one.
  make_network = var.openstack.network == null

  network_id  = local.make_network ? openstack_networking_network_v2.hosts[0].id : data.openstack_networking_network_v2.hosts[0].id
  network_mtu = local.make_network ? openstack_networking_network_v2.hosts[0].mtu : data.openstack_networking_network_v2.hosts[0].mtu
  subnet_id   = local.make_network ? openstack_networking_subnet_v2.hosts[0].id : data.openstack_networking_subnet_v2.hosts[0].id
  gateway     = local.make_network ? cidrhost(var.network.hosts, 1) : data.openstack_networking_subnet_v2.hosts[0].gateway_ip
}

data "openstack_networking_network_v2" "external" {
  count = local.make_network ? 1 : 0

  name     = var.openstack.external_network
  external = true
}

resource "openstack_networking_network_v2" "hosts" {
  count = local.make_network ? 1 : 0

  name           = var.network.name
  description    = "hosts of ${var.cluster}"
  admin_state_up = true
  tags           = local.tags
}

resource "openstack_networking_subnet_v2" "hosts" {
  count = local.make_network ? 1 : 0

  name            = var.network.name
  description     = "hosts of ${var.cluster}"
  network_id      = openstack_networking_network_v2.hosts[0].id
  cidr            = var.network.hosts
  ip_version      = 4
  gateway_ip      = cidrhost(var.network.hosts, 1)
  dns_nameservers = var.openstack.dns_servers
  tags            = local.tags

  # Hosts have the addresses of their slots, from 10 on. What takes any address (DHCP agents, load
  # balancers) must not come before them.
  allocation_pool {
    start = cidrhost(var.network.hosts, 2)
    end   = cidrhost(var.network.hosts, 9)
  }
}

resource "openstack_networking_router_v2" "hosts" {
  count = local.make_network ? 1 : 0

  name                = var.network.name
  description         = "way out of ${var.cluster}"
  admin_state_up      = true
  external_network_id = data.openstack_networking_network_v2.external[0].id
  tags                = local.tags
}

resource "openstack_networking_router_interface_v2" "hosts" {
  count = local.make_network ? 1 : 0

  router_id = openstack_networking_router_v2.hosts[0].id
  subnet_id = openstack_networking_subnet_v2.hosts[0].id
}

data "openstack_networking_network_v2" "hosts" {
  count = local.make_network ? 0 : 1

  name = var.openstack.network.name
}

data "openstack_networking_subnet_v2" "hosts" {
  count = local.make_network ? 0 : 1

  name       = var.openstack.network.subnet
  network_id = data.openstack_networking_network_v2.hosts[0].id

  lifecycle {
    postcondition {
      condition     = self.cidr == var.network.hosts
      error_message = "The subnet ${var.openstack.network.subnet} is ${self.cidr}; write that as network.hosts."
    }
  }
}

resource "openstack_networking_port_v2" "host" {
  for_each = local.hosts

  name               = "${var.cluster}-${each.key}"
  description        = "${each.value.role} of ${var.cluster}"
  network_id         = local.network_id
  admin_state_up     = true
  security_group_ids = [for group in each.value.groups : openstack_networking_secgroup_v2.this[group].id]
  tags               = local.tags

  fixed_ip {
    subnet_id  = local.subnet_id
    ip_address = each.value.address
  }

  dynamic "allowed_address_pairs" {
    # With plain routes, packets of pods leave with the pods' own addresses.
    for_each = each.value.kubernetes && var.network.backend == "host-gw" ? [var.network.pods] : []
    content {
      ip_address = allowed_address_pairs.value
    }
  }
}

resource "openstack_networking_floatingip_v2" "host" {
  for_each = { for name, address in var.openstack.floating_ips : name => address if address == "new" }

  pool        = var.openstack.external_network
  description = "${each.key} of ${var.cluster}"
  tags        = local.tags
}

resource "openstack_networking_floatingip_associate_v2" "host" {
  for_each = local.floating_ips

  floating_ip = each.value
  port_id     = openstack_networking_port_v2.host[each.key].id

  # Before the router is there, the port cannot be reached from the floating IP's network; and the
  # router cannot go before this has.
  depends_on = [openstack_networking_router_interface_v2.hosts]
}
