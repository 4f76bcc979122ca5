#!/bin/sh
# Run by mmdebstrap as a customize hook; $1 is the new root, $2 where kernel and initrd go.
set -eu
root=$1
cat > "$root/etc/cloud/cloud.cfg.d/90-armillary.cfg" <<'CLOUD'
datasource_list: [OpenStack, None]
network: {config: disabled}
ssh_genkeytypes: [ed25519]
ssh_pwauth: false
package_update: false
apt: {preserve_sources_list: true}
manage_etc_hosts: true
# Making a locale takes long on emulated processors.
locale: false
# Each module, and each stage, takes seconds there. The host's keys are on the console as soon as sshd may start, and not two
# stages later.
cloud_init_modules: [seed_random, bootcmd, write-files, resizefs, set_hostname, update_etc_hosts, users-groups, ssh, keys-to-console]
cloud_config_modules: [apt-configure, runcmd]
cloud_final_modules: [package-update-upgrade-install, write-files-deferred, scripts-user, final-message, power-state-change]
CLOUD
# Where it runs is known: no looking around, and no stage before the network is there, for each start of cloud-init takes twenty
# seconds of an emulated processor.
echo 'policy: enabled' > "$root/etc/cloud/ds-identify.cfg"
systemctl --root="$root" mask cloud-init-local.service > /dev/null 2>&1
printf 'auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n' > "$root/etc/network/interfaces"
# Without a look at each source, which mmdebstrap's packages are compiled for.
chroot "$root" python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3 /usr/lib/python3.11 || true
# The whole disk is one file system: kernel and initrd come from Glance, so there is no boot loader.
echo 'LABEL=armillary-root / ext4 defaults,noatime 0 1' > "$root/etc/fstab"
for unit in ssh serial-getty@ttyS0; do
  systemctl --root="$root" enable "$unit" > /dev/null 2>&1
done
# Emulated processors are slow: what a short-lived guest does not need would cost seconds of each boot.
for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service \
  sys-fs-fuse-connections.mount sys-kernel-debug.mount sys-kernel-tracing.mount dev-hugepages.mount \
  systemd-binfmt.service proc-sys-fs-binfmt_misc.automount proc-sys-fs-binfmt_misc.mount \
  modprobe@efi_pstore.service modprobe@drm.service modprobe@fuse.service modprobe@loop.service modprobe@dm_mod.service \
  systemd-pstore.service systemd-update-utmp.service systemd-update-utmp-runlevel.service dpkg-db-backup.timer fstrim.timer; do
  systemctl --root="$root" mask "$unit" > /dev/null 2>&1
done
cp "$root"/boot/vmlinuz-* "$2/vmlinuz"
cp "$root"/boot/initrd.img-* "$2/initrd"
rm -f "$root"/etc/ssh/ssh_host_* "$root"/var/lib/dbus/machine-id "$root"/etc/hostname
: > "$root/etc/machine-id"
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/log/*.log "$root"/var/log/apt
