package agent

import (
	"net/netip"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"

	"armillary/netpol/internal/policy"
)

// Objects are what a node's rules follow from, as the API server has them.
type Objects struct {
	Node       *core.Node // nil: unknown, then no address is refused for being unknown
	Namespaces []*core.Namespace
	Pods       []*core.Pod
	Policies   []*networking.NetworkPolicy
}

// stateOf leaves out pods in the host's network and pods that have ended: their addresses are not theirs alone.
func stateOf(node string, objects Objects, given sandboxes, failClosed bool) *policy.State {
	state := &policy.State{Node: node, Namespaces: map[string]labels.Set{}, Policies: objects.Policies}
	for _, namespace := range objects.Namespaces {
		state.Namespaces[namespace.Name] = namespace.Labels
	}
	for _, pod := range objects.Pods {
		if pod.Spec.HostNetwork || pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed {
			continue
		}
		var addresses []netip.Addr
		for _, ip := range pod.Status.PodIPs {
			if address, err := netip.ParseAddr(ip.IP); err == nil {
				addresses = append(addresses, address)
			}
		}
		if pod.Spec.NodeName == node {
			addresses = given.of(pod.UID, addresses)
		}
		if len(addresses) > 0 {
			state.Pods = append(state.Pods, policy.Pod{
				Namespace: pod.Namespace, Name: pod.Name, Node: pod.Spec.NodeName, Labels: pod.Labels,
				Addresses: addresses, Ports: namedPorts(pod),
			})
		}
	}
	// The order of a lister is random; equal states must give equal rules.
	slices.SortFunc(state.Policies, func(a, b *networking.NetworkPolicy) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	if objects.Node != nil && failClosed {
		for _, text := range objects.Node.Spec.PodCIDRs {
			if network, err := netip.ParsePrefix(text); err == nil {
				state.LocalNetworks = append(state.LocalNetworks, network)
			}
		}
	}
	return state
}

func namedPorts(pod *core.Pod) (ports []policy.Port) {
	containers := slices.Clone(pod.Spec.Containers)
	for _, container := range pod.Spec.InitContainers {
		if container.RestartPolicy != nil && *container.RestartPolicy == core.ContainerRestartPolicyAlways {
			containers = append(containers, container)
		}
	}
	for _, container := range containers {
		for _, port := range container.Ports {
			if port.Name == "" {
				continue
			}
			protocol := "tcp"
			if port.Protocol != "" {
				protocol = strings.ToLower(string(port.Protocol))
			}
			ports = append(ports, policy.Port{Name: port.Name, Protocol: protocol, Number: port.ContainerPort})
		}
	}
	return ports
}
