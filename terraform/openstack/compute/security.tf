locals {
  # The registry, and, where no load balancer is, the hub (from 80 browsers are sent to 443) and
  # Kubernetes' API.
  open_ports = concat([22, 5000], local.balanced ? [] : [80, 443, 7443])

  outside = {
    for rule in setproduct(local.open_ports, var.openstack.allow_from) :
    "services-${rule[0]}-from-${rule[1]}" => { to = "services", port = rule[0], range = rule[1] }
  }
  bastion = var.openstack.access == "bastion" ? {
    hosts-ssh-from-services = { to = "hosts", port = 22, from = "services" }
  } : {}
  direct = {
    for range in var.openstack.allow_from :
    "hosts-22-from-${range}" => { to = "hosts", port = 22, range = range } if var.openstack.access == "direct"
  }

  # Brokers send a client to each other's addresses, so all of them have a floating IP or none has.
  brokers_outside = {
    for range in var.openstack.allow_from :
    "kafka-9094-from-${range}" => { to = "kafka", port = 9094, range = range }
    if anytrue([for name in local.brokers : contains(keys(var.openstack.floating_ips), name)])
  }

  inside = {
    # Whether a packet was too large is told by ICMP.
    hosts-icmp-from-hosts                 = { to = "hosts", protocol = "icmp", from = "hosts" }
    control_plane-api-from-hosts          = { to = "control_plane", port = 6443, from = "hosts" }
    control_plane-etcd-from-control_plane = { to = "control_plane", port = 2379, last = 2380, from = "control_plane" }
    kubernetes-kubelet-from-control_plane = { to = "kubernetes", port = 10250, from = "control_plane" }
    worker-http-from-services             = { to = "worker", port = 8080, from = "services" }
    worker-ingress-from-services          = { to = "worker", port = 8443, from = "services" }
    services-hub-from-kubernetes          = { to = "services", port = 443, from = "kubernetes" }
    services-registry-from-kubernetes     = { to = "services", port = 5001, from = "kubernetes" }
  }
  nfs = length(local.shared) > 0 ? {
    services-nfs-from-kubernetes = { to = "services", port = 2049, from = "kubernetes" }
  } : {}

  kafka = length(local.brokers) > 0 ? {
    # Replication 9091, the brokers' own clients 9092, the quorum 9093.
    kafka-brokers-from-kafka      = { to = "kafka", port = 9091, last = 9093, from = "kafka" }
    kafka-clients-from-kubernetes = { to = "kafka", port = 9092, from = "kubernetes" }
    kafka-metrics-from-kubernetes = { to = "kafka", port = 9404, from = "kubernetes" }
  } : {}

  # Packets to a pod carry the pod's own port, and a security group does not see whether an address
  # is a pod's: with plain routes all ports between Kubernetes hosts are open. Members of a group are
  # known by the addresses of their ports; not every backend of Neutron counts allowed_address_pairs
  # among them, so pods are allowed by range. Only ports with that pair can send from it.
  pods = var.network.backend == "host-gw" ? {
    kubernetes-all-from-kubernetes = { to = "kubernetes", from = "kubernetes" }
    kubernetes-all-from-pods       = { to = "kubernetes", range = var.network.pods }
    } : {
    kubernetes-vxlan-from-kubernetes = { to = "kubernetes", protocol = "udp", port = 8472, from = "kubernetes" }
  }

  # Amphorae are Octavia's: no security group of ours has them, but they are in this network.
  balancer = local.balanced ? {
    worker-http-from-amphorae       = { to = "worker", port = 8080, range = var.network.hosts }
    worker-ingress-from-amphorae    = { to = "worker", port = 8443, range = var.network.hosts }
    control_plane-api-from-amphorae = { to = "control_plane", port = 6443, range = var.network.hosts }
  } : {}

  rules = merge(
    local.outside, local.bastion, local.direct, local.brokers_outside,
    local.inside, local.nfs, local.kafka, local.pods, local.balancer,
  )
}

resource "openstack_networking_secgroup_v2" "this" {
  for_each = toset(concat(
    ["hosts", "kubernetes", "services", "control_plane", "worker"],
    length(local.brokers) > 0 ? ["kafka"] : [],
  ))

  name        = "${var.cluster}-${each.key}"
  description = "${each.key} of ${var.cluster}"
  tags        = local.tags
}

resource "openstack_networking_secgroup_rule_v2" "this" {
  for_each = local.rules

  # Rules have no tags.
  description       = "${each.key} (armillary-cluster=${var.cluster_id})"
  direction         = "ingress"
  ethertype         = "IPv4"
  security_group_id = openstack_networking_secgroup_v2.this[each.value.to].id
  remote_group_id   = try(openstack_networking_secgroup_v2.this[each.value.from].id, null)
  remote_ip_prefix  = try(each.value.range, null)
  protocol          = try(each.value.protocol, can(each.value.port) ? "tcp" : null)
  port_range_min    = try(each.value.port, null)
  port_range_max    = try(each.value.last, each.value.port, null)
}
