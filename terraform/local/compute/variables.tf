variable "cluster" {
  description = "Name of the cluster; names of instances begin with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$", var.cluster))
    error_message = "The name of a cluster is 1 to 30 of a-z, 0-9 and -, with a letter first and no - last."
  }
}

variable "domain" {
  description = "DNS domain of the hosts; null: <cluster>.armillary.internal."
  type        = string
  default     = null
}

variable "network" {
  description = "Name of the hosts' bridge, and their addresses; the first one is the gateway."
  type = object({
    name  = string
    hosts = string
  })

  validation {
    condition     = length(var.network.name) <= 15
    error_message = "The name of a bridge has at most 15 characters."
  }

  validation {
    condition     = can(cidrhost(var.network.hosts, 1)) && !strcontains(var.network.hosts, ":")
    error_message = "network.hosts is an IPv4 network such as 10.77.0.0/24."
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
    pool = string
  }))
}

variable "hosts" {
  description = "Hosts by name; slot is the number of the host's address in network.hosts."
  type = map(object({
    role       = string
    slot       = number
    flavor     = string
    cpus       = number
    memory_mib = number
    disk_gib   = number
    image      = string
    volumes = map(object({
      volume = string
      mount  = string
    }))
  }))

  validation {
    condition     = length(distinct([for host in values(var.hosts) : host.slot])) == length(var.hosts)
    error_message = "Two hosts have the same slot."
  }

  validation {
    condition     = alltrue([for host in values(var.hosts) : host.slot >= 2 && can(cidrhost(var.network.hosts, host.slot + 1))])
    error_message = "Every slot is 2 or more and lies within network.hosts (the last address is the broadcast's)."
  }

  validation {
    condition     = alltrue([for host in values(var.hosts) : contains(["services", "kafka", "control_plane", "worker"], host.role)])
    error_message = "A role is services, kafka, control_plane or worker."
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

variable "host_quirks" {
  description = "What the machine under Incus is like; more keys than these may be given."
  type = object({
    cgroup_v1 = bool
  })
  default = {
    cgroup_v1 = false
  }
}

variable "pool" {
  description = "Storage pool of the root disks."
  type        = string
  default     = "armillary"
}

variable "incus_address" {
  description = "Socket of Incus; null: where Debian's package has it."
  type        = string
  default     = null
}
