variable "cluster" {
  description = "Name of the cluster; names of volumes begin with it."
  type        = string

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$", var.cluster))
    error_message = "The name of a cluster is 1 to 30 of a-z, 0-9 and -, with a letter first and no - last."
  }
}

variable "volumes" {
  description = "Volumes, keyed <host>-<volume>, or by the name of a shared space."
  type = map(object({
    size_gib = number
    shared   = bool
  }))

  validation {
    condition     = alltrue([for volume in values(var.volumes) : volume.size_gib >= 1 && floor(volume.size_gib) == volume.size_gib])
    error_message = "size_gib is a whole number, 1 or more."
  }
}

variable "pool" {
  description = "Storage pool of Incus."
  type        = string
  default     = "armillary"
}

variable "incus_address" {
  description = "Socket of Incus; null: where Debian's package has it."
  type        = string
  default     = null
}
