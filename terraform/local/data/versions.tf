terraform {
  # 1.9: conditions of a variable may look at other variables.
  required_version = ">= 1.9"

  # Armillary gives the path, in the state directory of the cluster.
  backend "local" {}

  required_providers {
    incus = {
      source  = "terraform.local/armillary/incus"
      version = "0.1.0"
    }
  }
}

provider "incus" {
  cluster = var.cluster
  address = var.incus_address
}
