package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"armillary/netpol/internal/nft"

	"sigs.k8s.io/knftables"
)

// The base chains. Egress and ingress are two, at priorities one after the other, so that `accept` in the first
// still lets the second decide. Both follow DNAT (kube-proxy's is in prerouting): they see the addresses of pods.
const (
	EgressChain = "egress"
	// HostChain is egress to the pod's own node. Upstream leaves that way open; an egress policy here closes it, or a
	// notebook could reach the kubelet and ssh of the one host it runs on. Probes come from the node and are
	// answered as established.
	HostChain    = "host"
	IngressChain = "ingress"
)

type direction struct {
	name     string // of the base chain and the policy type
	peer     string // the packet's end that is the other side: saddr or daddr
	self     string // the packet's end that is the selected pod
	priority string
	prefix   string // of chain names
}

var (
	egress  = direction{EgressChain, "daddr", "saddr", "filter", "eg"}
	ingress = direction{IngressChain, "saddr", "daddr", "filter + 1", "in"}
)

type family struct{ suffix, header, kind string }

var (
	v4 = family{"4", "ip", "ipv4_addr"}
	v6 = family{"6", "ip6", "ipv6_addr"}
)

func familyOf(address netip.Addr) family {
	if address.Is4() {
		return v4
	}
	return v6
}

type compiler struct {
	state    *State
	rules    *nft.Ruleset
	families []family
	local    []*Pod
	peers    map[string][]*Pod // selector key: pods
}

// Compile gives the whole table for the state's node. Policies that cannot be understood isolate the pods that they
// select and allow nothing; each is named in the returned errors, with the reason.
func Compile(state *State) (*nft.Ruleset, []error) {
	c := &compiler{state: state, rules: nft.New(), peers: map[string][]*Pod{}}
	has := map[family]bool{v4: true}
	for i := range state.Pods {
		pod := &state.Pods[i]
		if pod.Node != state.Node {
			continue
		}
		c.local = append(c.local, pod)
		for _, address := range pod.Addresses {
			has[familyOf(address)] = true
		}
	}
	for _, f := range []family{v4, v6} {
		if has[f] {
			c.families = append(c.families, f)
		}
	}
	c.baseChains()
	errs := append(c.isolate(egress), c.isolate(ingress)...)
	return c.rules, errs
}

// baseChains: two look-ups for the first packet of a connection, none but conntrack's for the others.
func (c *compiler) baseChains() {
	for _, d := range []direction{egress, ingress} {
		lines := []string{"ct state established,related accept"}
		for _, f := range c.families {
			c.set(nft.Set{Type: f.kind + " . " + f.kind, Comment: "isolated pods, to allow each itself"}, "self-"+f.suffix)
			c.set(nft.Set{Type: f.kind, IsMap: true}, isolatedMap(d, f))
			lines = append(lines,
				fmt.Sprintf("%s saddr . %s daddr @self-%s accept", f.header, f.header, f.suffix),
				fmt.Sprintf("%s %s vmap @%s", f.header, d.self, isolatedMap(d, f)))
		}
		lines = append(lines, c.unknown(d)...)
		c.rules.Chains[d.name] = nft.Chain{Priority: d.priority, Rules: lines}
		if d == egress {
			c.rules.Chains[HostChain] = nft.Chain{Priority: d.priority, Hook: knftables.InputHook, Rules: lines}
		}
	}
}

// unknown drops what comes from or goes to an address of the node's pod network that no known pod has.
func (c *compiler) unknown(d direction) (lines []string) {
	for _, f := range c.families {
		networks := map[string]string{}
		for _, network := range c.state.LocalNetworks {
			if familyOf(network.Addr()) == f {
				networks[network.Masked().String()] = ""
			}
		}
		if len(networks) == 0 {
			continue
		}
		known := nft.Set{Type: f.kind, Comment: "pods of this node whose policies are in place", Elements: map[string]string{}}
		for _, pod := range c.local {
			for _, address := range pod.Addresses {
				if familyOf(address) == f {
					known.Elements[address.String()] = ""
				}
			}
		}
		c.rules.Sets["known-"+f.suffix] = known
		name := "node-" + digest(networks) + "-" + f.suffix
		c.rules.Sets[name] = nft.Set{Type: f.kind, Interval: true, Comment: "the pod network of this node", Elements: networks}
		c.rules.Counters["unknown-pod"] = "addresses of no known pod"
		lines = append(lines, fmt.Sprintf("%s %s @%s %s %s != @known-%s counter name unknown-pod drop",
			f.header, d.self, name, f.header, d.self, f.suffix))
	}
	return lines
}

// isolate writes one chain for each set of policies that some local pod has in this direction; pods with the same
// policies share it.
func (c *compiler) isolate(d direction) (errs []error) {
	selectors := make([]labels.Selector, len(c.state.Policies))
	for i, policy := range c.state.Policies {
		if !applies(policy, d) {
			continue
		}
		selector, err := meta.LabelSelectorAsSelector(&policy.Spec.PodSelector)
		if err != nil {
			errs = append(errs, problem(policy, fmt.Errorf("podSelector: %w", err)))
			continue
		}
		selectors[i] = selector
	}
	selected := map[string][]*Pod{} // policy key: local pods
	used := map[string]*networking.NetworkPolicy{}
	for _, pod := range c.local {
		var names []string
		for i, policy := range c.state.Policies {
			if selectors[i] != nil && policy.Namespace == pod.Namespace && selectors[i].Matches(pod.Labels) {
				names = append(names, policy.Name)
				key := pod.Namespace + "/" + policy.Name
				used[key] = policy
				selected[key] = append(selected[key], pod)
			}
		}
		if len(names) > 0 {
			c.bind(d, pod, names)
		}
	}
	for key, policy := range used {
		errs = append(errs, c.policyChain(d, policy, selected[key])...)
	}
	return errs
}

func (c *compiler) bind(d direction, pod *Pod, policies []string) {
	slices.Sort(policies)
	chain := d.prefix + "-pods-" + digest(append([]string{pod.Namespace}, policies...))
	if _, found := c.rules.Chains[chain]; !found {
		var lines []string
		for _, name := range policies {
			lines = append(lines, "jump "+policyChainName(d, pod.Namespace, name))
		}
		counter := d.name + "-" + pod.Namespace
		c.rules.Counters[counter] = ""
		lines = append(lines, "counter name "+counter+" drop")
		c.rules.Chains[chain] = nft.Chain{Comment: pod.Namespace + ": " + strings.Join(policies, " "), Rules: lines}
	}
	for _, address := range pod.Addresses {
		f := familyOf(address)
		c.rules.Sets[isolatedMap(d, f)].Elements[address.String()] = "goto " + chain
		c.rules.Sets["self-"+f.suffix].Elements[address.String()+" . "+address.String()] = ""
	}
}

func (c *compiler) policyChain(d direction, policy *networking.NetworkPolicy, selected []*Pod) (errs []error) {
	var lines []string
	add := func(peers []networking.NetworkPolicyPeer, ports []networking.NetworkPolicyPort) {
		more, err := c.rule(d, policy.Namespace, selected, peers, ports)
		if err != nil {
			errs = append(errs, problem(policy, err))
			return
		}
		lines = append(lines, more...)
	}
	if d == ingress {
		for _, rule := range policy.Spec.Ingress {
			add(rule.From, rule.Ports)
		}
	} else {
		for _, rule := range policy.Spec.Egress {
			add(rule.To, rule.Ports)
		}
	}
	c.rules.Chains[policyChainName(d, policy.Namespace, policy.Name)] = nft.Chain{
		Comment: policy.Namespace + "/" + policy.Name, Rules: lines}
	return errs
}

// rule writes the lines that accept what one rule of a policy allows.
func (c *compiler) rule(
	d direction, namespace string, selected []*Pod, peers []networking.NetworkPolicyPeer, ports []networking.NetworkPolicyPort,
) ([]string, error) {
	numbers, names, err := splitPorts(ports)
	if err != nil {
		return nil, err
	}
	matches, reached, err := c.peerMatches(d, namespace, peers)
	if err != nil {
		return nil, err
	}
	var lines []string
	if len(ports) == 0 || len(numbers) > 0 {
		for _, match := range matches {
			lines = append(lines, join(match, portMatch(numbers), "accept"))
		}
	}
	if len(names) == 0 {
		return lines, nil
	}
	// A name means a number only at the pod that receives: in ingress a selected one, in egress the peer.
	receivers := selected
	if d == egress {
		receivers = reached
	}
	for _, f := range c.families {
		set := c.namedPorts(f, receivers, names)
		match := fmt.Sprintf("%s daddr . meta l4proto . th dport @%s", f.header, set)
		if d == egress {
			lines = append(lines, join(match, "accept"))
			continue
		}
		for _, peer := range matches {
			if peer == "" || strings.HasPrefix(peer, f.header+" ") {
				lines = append(lines, join(peer, match, "accept"))
			}
		}
	}
	return lines, nil
}

// peerMatches gives nft matches for the other side (one empty match: anybody), and the pods that are among it.
func (c *compiler) peerMatches(
	d direction, namespace string, peers []networking.NetworkPolicyPeer,
) (matches []string, reached []*Pod, err error) {
	if len(peers) == 0 {
		for i := range c.state.Pods {
			reached = append(reached, &c.state.Pods[i])
		}
		return []string{""}, reached, nil
	}
	for _, peer := range peers {
		var set string
		if peer.IPBlock != nil {
			spans, err := blockSpans(peer.IPBlock)
			if err != nil {
				return nil, nil, err
			}
			if len(spans) == 0 {
				continue
			}
			f := familyOf(spans[0].first)
			if !slices.Contains(c.families, f) {
				continue
			}
			reached = append(reached, c.within(spans)...)
			elements := map[string]string{}
			for _, s := range spans {
				elements[s.String()] = ""
			}
			// Named by content: a change makes another set, so that no interval is ever taken out of one.
			set = "block-" + digest(elements) + "-" + f.suffix
			c.rules.Sets[set] = nft.Set{Type: f.kind, Interval: true, Comment: blockComment(peer.IPBlock), Elements: elements}
			matches = append(matches, fmt.Sprintf("%s %s @%s", f.header, d.peer, set))
			continue
		}
		pods, key, err := c.selectPods(namespace, peer)
		if err != nil {
			return nil, nil, err
		}
		reached = append(reached, pods...)
		for _, f := range c.families {
			set = "peers-" + key + "-" + f.suffix
			c.set(nft.Set{Type: f.kind, Comment: peerComment(namespace, peer)}, set)
			for _, pod := range pods {
				for _, address := range pod.Addresses {
					if familyOf(address) == f {
						c.rules.Sets[set].Elements[address.String()] = ""
					}
				}
			}
			matches = append(matches, fmt.Sprintf("%s %s @%s", f.header, d.peer, set))
		}
	}
	return matches, reached, nil
}

// selectPods gives the pods of a peer and a key that equal selectors share.
func (c *compiler) selectPods(namespace string, peer networking.NetworkPolicyPeer) ([]*Pod, string, error) {
	of := namespace
	if peer.NamespaceSelector != nil {
		of = ""
	}
	key := digest([]any{of, peer.NamespaceSelector, peer.PodSelector})
	if pods, found := c.peers[key]; found {
		return pods, key, nil
	}
	podSelector := labels.Everything()
	var err error
	if peer.PodSelector != nil {
		if podSelector, err = meta.LabelSelectorAsSelector(peer.PodSelector); err != nil {
			return nil, "", fmt.Errorf("podSelector of a peer: %w", err)
		}
	}
	in := func(name string) bool { return name == namespace }
	if peer.NamespaceSelector != nil {
		selector, err := meta.LabelSelectorAsSelector(peer.NamespaceSelector)
		if err != nil {
			return nil, "", fmt.Errorf("namespaceSelector of a peer: %w", err)
		}
		in = func(name string) bool {
			labels, found := c.state.Namespaces[name]
			return found && selector.Matches(labels)
		}
	}
	pods := []*Pod{}
	for i := range c.state.Pods {
		pod := &c.state.Pods[i]
		if in(pod.Namespace) && podSelector.Matches(pod.Labels) {
			pods = append(pods, pod)
		}
	}
	c.peers[key] = pods
	return pods, key, nil
}

func (c *compiler) within(spans []span) (pods []*Pod) {
	for i := range c.state.Pods {
		pod := &c.state.Pods[i]
		if slices.ContainsFunc(pod.Addresses, func(address netip.Addr) bool {
			return slices.ContainsFunc(spans, func(s span) bool { return s.contains(address) })
		}) {
			pods = append(pods, pod)
		}
	}
	return pods
}

func (c *compiler) namedPorts(f family, receivers []*Pod, names []Port) string {
	elements := map[string]string{}
	for _, pod := range receivers {
		for _, port := range pod.Ports {
			wanted := slices.ContainsFunc(names, func(n Port) bool { return n.Name == port.Name && n.Protocol == port.Protocol })
			if !wanted {
				continue
			}
			for _, address := range pod.Addresses {
				if familyOf(address) == f {
					elements[fmt.Sprintf("%s . %s . %d", address, port.Protocol, port.Number)] = ""
				}
			}
		}
	}
	set := "ports-" + digest(elements) + "-" + f.suffix
	c.rules.Sets[set] = nft.Set{Type: f.kind + " . inet_proto . inet_service", Comment: "named ports", Elements: elements}
	return set
}

func (c *compiler) set(set nft.Set, name string) {
	if _, found := c.rules.Sets[name]; !found {
		set.Elements = map[string]string{}
		c.rules.Sets[name] = set
	}
}

// applies follows the defaults of policyTypes: Ingress always, Egress when there are egress rules.
func applies(policy *networking.NetworkPolicy, d direction) bool {
	if len(policy.Spec.PolicyTypes) == 0 {
		return d == ingress || len(policy.Spec.Egress) > 0
	}
	return slices.ContainsFunc(policy.Spec.PolicyTypes, func(kind networking.PolicyType) bool {
		return strings.EqualFold(string(kind), d.name)
	})
}

// splitPorts parts numbers ("tcp . 80-90") from names.
func splitPorts(ports []networking.NetworkPolicyPort) (numbers []string, names []Port, err error) {
	for _, port := range ports {
		protocol := "tcp"
		if port.Protocol != nil {
			protocol = strings.ToLower(string(*port.Protocol))
		}
		if protocol != "tcp" && protocol != "udp" && protocol != "sctp" {
			return nil, nil, fmt.Errorf("protocol %s is not TCP, UDP or SCTP", protocol)
		}
		switch {
		case port.Port == nil:
			numbers = append(numbers, protocol+" . 0-65535")
		case port.Port.Type == intstr.String:
			names = append(names, Port{Name: port.Port.StrVal, Protocol: protocol})
		case port.EndPort != nil && *port.EndPort > port.Port.IntVal:
			numbers = append(numbers, fmt.Sprintf("%s . %d-%d", protocol, port.Port.IntVal, *port.EndPort))
		case port.EndPort != nil && *port.EndPort < port.Port.IntVal:
			return nil, nil, fmt.Errorf("endPort %d is below port %d", *port.EndPort, port.Port.IntVal)
		default:
			numbers = append(numbers, fmt.Sprintf("%s . %d", protocol, port.Port.IntVal))
		}
	}
	return numbers, names, nil
}

// portMatch merges first: nft refuses an anonymous set whose ranges overlap, and users write such.
func portMatch(numbers []string) string {
	if len(numbers) == 0 {
		return ""
	}
	return "meta l4proto . th dport { " + strings.Join(mergePorts(numbers), ", ") + " }"
}

// mergePorts joins ranges of one protocol that overlap or touch.
func mergePorts(numbers []string) []string {
	type portRange struct {
		protocol    string
		first, last int
	}
	ranges := make([]portRange, 0, len(numbers))
	for _, number := range numbers {
		var r portRange
		protocol, text, _ := strings.Cut(number, " . ")
		r.protocol = protocol
		if n, _ := fmt.Sscanf(text, "%d-%d", &r.first, &r.last); n == 1 {
			r.last = r.first
		}
		ranges = append(ranges, r)
	}
	slices.SortFunc(ranges, func(a, b portRange) int {
		if order := strings.Compare(a.protocol, b.protocol); order != 0 {
			return order
		}
		return a.first - b.first
	})
	merged := ranges[:1]
	for _, r := range ranges[1:] {
		last := &merged[len(merged)-1]
		if r.protocol == last.protocol && r.first <= last.last+1 {
			last.last = max(last.last, r.last)
		} else {
			merged = append(merged, r)
		}
	}
	texts := make([]string, len(merged))
	for i, r := range merged {
		texts[i] = fmt.Sprintf("%s . %d", r.protocol, r.first)
		if r.last > r.first {
			texts[i] += fmt.Sprintf("-%d", r.last)
		}
	}
	return texts
}

func blockSpans(block *networking.IPBlock) ([]span, error) {
	prefix, err := netip.ParsePrefix(block.CIDR)
	if err != nil {
		return nil, fmt.Errorf("ipBlock: %w", err)
	}
	var except []netip.Prefix
	for _, text := range block.Except {
		cut, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("ipBlock, except: %w", err)
		}
		except = append(except, cut)
	}
	return subtract(prefix, except), nil
}

func blockComment(block *networking.IPBlock) string {
	if len(block.Except) == 0 {
		return block.CIDR
	}
	return block.CIDR + " except " + strings.Join(block.Except, " ")
}

func peerComment(namespace string, peer networking.NetworkPolicyPeer) string {
	where := namespace
	if peer.NamespaceSelector != nil {
		where = "namespaces " + meta.FormatLabelSelector(peer.NamespaceSelector)
	}
	if peer.PodSelector == nil {
		return where
	}
	return where + ": pods " + meta.FormatLabelSelector(peer.PodSelector)
}

func isolatedMap(d direction, f family) string { return d.name + "-pods-" + f.suffix }

func policyChainName(d direction, namespace, name string) string {
	return d.prefix + "-policy-" + digest([]string{namespace, name})
}

func problem(policy *networking.NetworkPolicy, err error) error {
	return fmt.Errorf("NetworkPolicy %s/%s: %w", policy.Namespace, policy.Name, err)
}

// digest names things whose parts may be longer than nftables takes, or have characters that it does not.
func digest(of any) string {
	// Maps are written with sorted keys; these types cannot fail to be written.
	text, _ := json.Marshal(of)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(part string) bool { return part == "" }), " ")
}
