output "volumes" {
  description = "Volumes by the keys of the variable; variable `data` of the compute root."
  value = {
    for key, volume in openstack_blockstorage_volume_v3.this : key => {
      id   = volume.id
      name = volume.name
      pool = null
    }
  }
}

output "containers" {
  description = "Containers in Swift: their names by the names cluster.yml has."
  value       = { for key, container in openstack_objectstorage_container_v1.this : key => container.name }
}

output "credentials" {
  description = "What opens the containers: the application credential, null without containers; of S3, one for each service and user named."
  sensitive   = true
  value = {
    application_credential = one([
      for credential in openstack_identity_application_credential_v3.containers : {
        id     = credential.id
        secret = credential.secret
      }
    ])
    s3 = {
      for name, credential in openstack_identity_ec2_credential_v3.s3 : name => {
        access = credential.access
        secret = credential.secret
      }
    }
  }
}
