variable "cluster" {
  description = "Name of the cluster; names of volumes and containers begin with it."
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

variable "volumes" {
  description = "Volumes, keyed <host>-<volume>, or by the name of a shared space; type null: the cloud's default."
  type = map(object({
    size_gib = number
    shared   = bool
    type     = optional(string)
  }))

  validation {
    condition     = alltrue([for volume in values(var.volumes) : volume.size_gib >= 1 && floor(volume.size_gib) == volume.size_gib])
    error_message = "size_gib is a whole number, 1 or more."
  }
}

variable "openstack" {
  description = "Entry of clouds.yaml; zone of volumes (null: Cinder chooses); containers, with their quotas and whether parts of uploads by S3 have one beside it; who gets an EC2 credential."
  type = object({
    cloud             = string
    availability_zone = optional(string)
    containers = optional(map(object({
      quota_bytes = optional(number)
      segments    = optional(bool, false)
    })), {})
    s3 = optional(list(string), [])
  })
}
