#!/bin/sh
# Run by mmdebstrap before the packages come; $1 is the new root.
set -eu
root=$1
# A small initrd is read, unpacked and left sooner. Guests start from virtio disks with ext4, and from nothing else.
mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/usr/share/initramfs-tools/modules.d"
cat > "$root/etc/initramfs-tools/conf.d/armillary" <<'INITRAMFS'
MODULES=list
FSTYPE=ext4
INITRAMFS
printf '%s\n' virtio_pci virtio_blk ext4 > "$root/usr/share/initramfs-tools/modules.d/armillary"
