variable "cluster" {
  description = "Name of the cluster; names of all that is made begin with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$", var.cluster))
    error_message = "The name of a cluster is 1 to 30 of a-z, 0-9 and -, with a letter first and no - last."
  }
}

variable "cluster_id" {
  description = "UUID of the cluster, which all that is made for it bears."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.cluster_id))
    error_message = "cluster_id is a UUID."
  }
}

variable "domain" {
  description = "DNS domain of the hosts; null: <cluster>.armillary.internal."
  type        = string
  default     = null
}

variable "network" {
  description = "Name of the hosts' network if it is made, addresses of hosts and pods, and how pods reach each other."
  type = object({
    name    = string
    hosts   = string
    pods    = string
    backend = string
  })

  validation {
    condition = alltrue([
      for range in [var.network.hosts, var.network.pods] : can(cidrhost(range, 1)) && !strcontains(range, ":")
    ])
    error_message = "network.hosts and network.pods are IPv4 networks such as 10.77.0.0/24."
  }

  validation {
    condition     = contains(["host-gw", "vxlan"], var.network.backend)
    error_message = "network.backend is host-gw or vxlan."
  }
}

variable "ssh_public_key" {
  description = "Key with which Armillary signs in as the user armillary."
  type        = string

  validation {
    condition     = can(regex("^(ssh|ecdsa|sk)-\\S+ \\S+", trimspace(var.ssh_public_key)))
    error_message = "ssh_public_key is one line of an OpenSSH .pub file."
  }
}

variable "data" {
  description = "Output `volumes` of the data root."
  type = map(object({
    id   = string
    name = string
  }))
}

variable "hosts" {
  description = "Hosts by name; slot is the number of the host's address in network.hosts."
  type = map(object({
    role     = string
    slot     = number
    flavor   = string
    disk_gib = number
    image    = string
    # null: Nova chooses.
    availability_zone = optional(string)
    # null: from the disk of the flavor.
    boot_volume = optional(object({ type = optional(string) }))
    volumes = map(object({
      volume = string
      mount  = string
      shared = bool
    }))
  }))

  validation {
    condition     = length(distinct([for host in values(var.hosts) : host.slot])) == length(var.hosts)
    error_message = "Two hosts have the same slot."
  }

  validation {
    condition     = alltrue([for host in values(var.hosts) : host.slot >= 10 && can(cidrhost(var.network.hosts, host.slot + 1))])
    error_message = "Every slot is 10 or more and lies within network.hosts (the last address is the broadcast's)."
  }

  validation {
    condition     = alltrue([for host in values(var.hosts) : contains(["services", "kafka", "control_plane", "worker"], host.role)])
    error_message = "A role is services, kafka, control_plane or worker."
  }

  validation {
    condition     = length([for host in values(var.hosts) : host if host.role == "services"]) == 1
    error_message = "Exactly one host has the role services."
  }

  validation {
    condition     = alltrue(flatten([for host in values(var.hosts) : [for volume in values(host.volumes) : contains(keys(var.data), volume.volume)]]))
    error_message = "A host names a volume which the data root has not made."
  }

  validation {
    condition     = alltrue(flatten([for host in values(var.hosts) : [for volume in values(host.volumes) : can(regex("^/[^/]", volume.mount))]]))
    error_message = "A mount is an absolute path other than /."
  }
}

variable "openstack" {
  description = "What section openstack of cluster.yml says; exports: where the services host keeps shared spaces."
  type = object({
    cloud               = string
    external_network    = string
    network             = optional(object({ name = string, subnet = string }))
    dns_servers         = optional(list(string), [])
    floating_ips        = map(string)
    access              = optional(string, "bastion")
    allow_from          = optional(list(string), ["0.0.0.0/0"])
    load_balancer       = optional(string, "none")
    server_group_policy = optional(string, "soft-anti-affinity")
    exports             = string
  })

  validation {
    condition     = alltrue([for name in keys(var.openstack.floating_ips) : contains(keys(var.hosts), name)])
    error_message = "A floating IP is for a host that is not there."
  }

  validation {
    condition     = alltrue([for name, host in var.hosts : contains(keys(var.openstack.floating_ips), name) if host.role == "services"])
    error_message = "The services host has a floating IP."
  }

  validation {
    condition     = contains(["bastion", "direct"], var.openstack.access)
    error_message = "openstack.access is bastion or direct."
  }

  validation {
    condition     = contains(["none", "octavia"], var.openstack.load_balancer)
    error_message = "openstack.load_balancer is none or octavia."
  }
}
