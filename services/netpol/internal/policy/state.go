// Package policy compiles NetworkPolicy objects of networking.k8s.io/v1 to the nftables rules of one node.
package policy

import (
	"net/netip"

	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Port is a container port that has a name.
type Port struct {
	Name     string
	Protocol string // tcp, udp or sctp
	Number   int32
}

// Pod is what policies can see of a running pod with addresses of its own. Pods in the host's network are left out
// by who fills State: their addresses are the node's, and letting them in would let in the whole node.
type Pod struct {
	Namespace string
	Name      string
	Node      string
	Labels    labels.Set
	Addresses []netip.Addr
	Ports     []Port
}

// State is all that the rules of one node follow from.
type State struct {
	Node       string
	Namespaces map[string]labels.Set
	Pods       []Pod
	Policies   []*networking.NetworkPolicy
	// LocalNetworks are the node's pod CIDRs. An address in them that belongs to no pod in Pods is not forwarded:
	// a new pod is cut off until its policies are in place. Empty: new pods are open for that moment.
	LocalNetworks []netip.Prefix
}
