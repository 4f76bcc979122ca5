#!/bin/sh
# Run by mmdebstrap as a customize hook; $1 is the new root.
set -eu
root=$1
cat > "$root/etc/systemd/network/10-eth0.network" <<'NETWORK'
[Match]
Name=eth0 en*

[Network]
DHCP=ipv4
LinkLocalAddressing=no
IPv6AcceptRA=no

[DHCPv4]
UseDomains=true
# A host keeps its address while its DHCP server restarts.
KeepConfiguration=yes
NETWORK
# The datasource is known: looking for the others costs seconds at every boot.
cat > "$root/etc/cloud/cloud.cfg.d/90-armillary.cfg" <<'CLOUD'
datasource_list: [NoCloud, None]
network: {config: disabled}
ssh_genkeytypes: [ed25519]
ssh_deletekeys: true
disable_root: true
ssh_pwauth: false
package_update: false
locale: false
CLOUD
for unit in systemd-networkd systemd-resolved ssh; do
  systemctl --root="$root" enable "$unit" > /dev/null 2>&1
done
systemctl --root="$root" mask systemd-binfmt.service > /dev/null 2>&1
# A container's kernel, clock and disks are its host's business; nothing here may wait for them.
for unit in systemd-networkd-wait-online.service systemd-udev-trigger.service systemd-modules-load.service \
  systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer man-db.timer dpkg-db-backup.timer haproxy.service nftables.service chrony.service; do
  systemctl --root="$root" disable "$unit" > /dev/null 2>&1 || true
done
ln -sf /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
rm -f "$root"/etc/ssh/ssh_host_* "$root"/var/lib/dbus/machine-id "$root"/etc/hostname
: > "$root/etc/machine-id"
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/lib/apt/lists/* "$root"/usr/share/doc/* "$root"/usr/share/man/* \
  "$root"/usr/share/locale/* "$root"/var/log/*.log "$root"/var/cache/ldconfig/aux-cache "$root"/var/log/apt
mkdir -p "$root/usr/share/man/man1" # packages with Java or alternatives fail without it
