terraform {
  # 1.9: conditions of a variable may look at other variables.
  required_version = ">= 1.9"

  # Armillary gives the path, in the state directory of the cluster.
  backend "local" {}

  # No .terraform.lock.hcl beside this: docs/decisions/0009-openstack-terraform.md says why.
  required_providers {
    openstack = {
      source  = "terraform-provider-openstack/openstack"
      version = "~> 3.4"
    }
  }
}

provider "openstack" {
  cloud = var.openstack.cloud
}
