"""A small Terraform provider (plugin protocol 6) for Incus: networks, storage volumes, instances.

Terraform starts it as `python -m armillary.incus_provider`; why it exists and why it is built this
way is in docs/decisions/0003-incus-provider.md.
"""
