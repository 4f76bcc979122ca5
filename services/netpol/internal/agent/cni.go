package agent

import (
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// sandboxes are the addresses that the container runtime gave to pods, by the pods' UIDs.
//
// The API server learns of a pod's address a second or more after the pod runs. The runtime's CNI library writes
// it down before it starts the first container, and with it the pod's UID:
// https://github.com/containernetworking/cni/blob/main/libcni/api.go (cachedInfo).
type sandboxes struct {
	byPod   map[types.UID][]netip.Addr
	ownerOf map[netip.Addr]types.UID
}

// readSandboxes reads libcni's cache. Files that are not (yet) complete are left out: another event follows the write.
func readSandboxes(directory string) sandboxes {
	read := sandboxes{byPod: map[types.UID][]netip.Addr{}, ownerOf: map[netip.Addr]types.UID{}}
	entries, err := os.ReadDir(directory)
	if err != nil {
		if directory != "" {
			slog.Warn("the runtime's addresses cannot be read: those of the API server must do, which come later",
				"directory", directory, "error", err)
		}
		return read
	}
	// A pod whose sandbox was made anew after a reboot has two files until the old one is collected, and its old
	// address may be another pod's by now: the newest file of a pod, and of an address, is right.
	podSince := map[types.UID]time.Time{}
	addressSince := map[netip.Addr]time.Time{}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		uid, addresses := readSandbox(filepath.Join(directory, entry.Name()))
		if uid == "" || len(addresses) == 0 {
			continue
		}
		if written := info.ModTime(); written.After(podSince[uid]) {
			podSince[uid] = written
			read.byPod[uid] = addresses
		}
		for _, address := range addresses {
			if written := info.ModTime(); written.After(addressSince[address]) {
				addressSince[address] = written
				read.ownerOf[address] = uid
			}
		}
	}
	return read
}

func readSandbox(path string) (uid types.UID, addresses []netip.Addr) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", nil
	}
	var cached struct {
		Arguments [][2]string `json:"cniArgs"`
		Result    struct {
			IPs []struct {
				Address string `json:"address"`
			} `json:"ips"`
		} `json:"result"`
	}
	if json.Unmarshal(text, &cached) != nil {
		return "", nil
	}
	for _, argument := range cached.Arguments {
		if argument[0] == "K8S_POD_UID" {
			uid = types.UID(argument[1])
		}
	}
	for _, ip := range cached.Result.IPs {
		// The runtime writes a file for a pod's loopback too, and sometimes after the one that counts.
		if prefix, err := netip.ParsePrefix(ip.Address); err == nil && !prefix.Addr().IsLoopback() {
			addresses = append(addresses, prefix.Addr())
		}
	}
	return uid, addresses
}

// of gives the addresses of a pod: the runtime's where it has some, else the API server's that no other pod has got.
func (s sandboxes) of(uid types.UID, reported []netip.Addr) (addresses []netip.Addr) {
	candidates := reported
	if given, found := s.byPod[uid]; found {
		candidates = given
	}
	for _, address := range candidates {
		if owner, found := s.ownerOf[address]; !found || owner == uid {
			addresses = append(addresses, address)
		}
	}
	return addresses
}
