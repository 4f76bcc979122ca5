#!/bin/sh
# Run by mmdebstrap as a customize hook; $1 is the new root, $2 where kernel and initrd go.
set -eu
root=$1
cat > "$root/etc/cloud/cloud.cfg.d/90-armillary.cfg" <<'CLOUD'
datasource_list: [ConfigDrive, OpenStack, None]
ssh_genkeytypes: [ed25519]
ssh_pwauth: false
package_update: false
apt_preserve_sources_list: true
manage_etc_hosts: true
# Making a locale takes long on emulated processors.
locale: false
CLOUD
# The whole disk is one file system: kernel and initrd come from Glance, so there is no boot loader.
echo 'LABEL=armillary-root / ext4 defaults,noatime 0 1' > "$root/etc/fstab"
for unit in ssh serial-getty@ttyS0; do
  systemctl --root="$root" enable "$unit" > /dev/null 2>&1
done
# Emulated processors are slow: what a short-lived guest does not need would cost seconds of each boot.
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service; do
  systemctl --root="$root" mask "$unit" > /dev/null 2>&1
done
cp "$root"/boot/vmlinuz-* "$2/vmlinuz"
cp "$root"/boot/initrd.img-* "$2/initrd"
rm -f "$root"/etc/ssh/ssh_host_* "$root"/var/lib/dbus/machine-id "$root"/etc/hostname
: > "$root/etc/machine-id"
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/lib/apt/lists/* "$root"/var/log/*.log "$root"/var/log/apt
