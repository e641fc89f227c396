"""Encrypted files of a package: age (age-encryption.org/v1) and SOPS (getsops.io) with age recipients.

`decrypt` is the action, `age` opens with identities, `sops` opens values and proves that none is missing, and
`sops_yaml`, `sops_json`, `sops_env` are the forms of a SOPS file. Nothing in here encrypts.
"""
