output "volumes" {
  description = "Volumes by the keys of the variable; variable `data` of the compute root."
  value = {
    for key, volume in incus_storage_volume.this : key => {
      id   = "${volume.pool}/${volume.name}"
      name = volume.name
      pool = volume.pool
    }
  }
}
