# This file is maintained automatically by "terraform init".
# Manual edits may be lost in future updates.

provider "terraform.local/armillary/incus" {
  version     = "0.1.0"
  constraints = "0.1.0"
  hashes = [
    "h1:pPvyaZwQ/GPl/g90lZuLu2TsNi3Pl6l5seuzMhC2QYQ=",
  ]
}
