package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"armillary/netpol/internal/nft"
	"sigs.k8s.io/knftables"
)

// What the rules do to packets is tests/contract/test_netpol.py's subject; here is what they are made of.

func testPod(namespace, name, node, address string) Pod {
	return Pod{Namespace: namespace, Name: name, Node: node, Labels: labels.Set{"pod": name},
		Addresses: []netip.Addr{netip.MustParseAddr(address)}}
}

func testState(policies ...*networking.NetworkPolicy) *State {
	return &State{
		Node:       "worker-1",
		Namespaces: map[string]labels.Set{"x": {"ns": "x"}, "y": {"ns": "y"}},
		Pods: []Pod{
			testPod("x", "a", "worker-1", "10.1.0.1"), testPod("x", "b", "worker-1", "10.1.0.2"),
			testPod("x", "c", "worker-2", "10.2.0.3"), testPod("y", "a", "worker-2", "10.2.0.4"),
		},
		Policies: policies,
	}
}

func testPolicy(name string, spec networking.NetworkPolicySpec) *networking.NetworkPolicy {
	return &networking.NetworkPolicy{ObjectMeta: meta.ObjectMeta{Namespace: "x", Name: name}, Spec: spec}
}

func compiled(t *testing.T, state *State) *nft.Ruleset {
	t.Helper()
	rules, errs := Compile(state)
	if len(errs) > 0 {
		t.Fatalf("unexpected faults: %v", errs)
	}
	return rules
}

func chainFor(rules *nft.Ruleset, kind string) []nft.Chain {
	var chains []nft.Chain
	for name, chain := range rules.Chains {
		if strings.HasPrefix(name, kind) {
			chains = append(chains, chain)
		}
	}
	return chains
}

func TestNoPolicyLeavesNoChainButTheBase(t *testing.T) {
	rules := compiled(t, testState())
	if len(rules.Chains) != 3 {
		t.Fatalf("chains: %v", rules.Chains)
	}
}

// A notebook that may send nothing must not reach ssh and the kubelet of its own node either.
func TestEgressHoldsForTheOwnNode(t *testing.T) {
	rules := compiled(t, testState(testPolicy("deny", networking.NetworkPolicySpec{})))
	host, egress := rules.Chains[HostChain], rules.Chains[EgressChain]
	if host.Hook != knftables.InputHook || !slices.Equal(host.Rules, egress.Rules) {
		t.Fatalf("to the node: %v; to others: %v", host, egress)
	}
}

func TestOnlyPodsOfTheNodeAreIsolated(t *testing.T) {
	rules := compiled(t, testState(testPolicy("deny", networking.NetworkPolicySpec{})))
	got := rules.Sets["ingress-pods-4"].Elements
	if len(got) != 2 || got["10.1.0.1"] == "" || got["10.1.0.2"] == "" {
		t.Fatalf("isolated: %v", got)
	}
	if len(rules.Sets["egress-pods-4"].Elements) != 0 {
		t.Fatal("a policy without egress rules and types must not isolate egress")
	}
}

func TestPodsWithTheSamePoliciesShareAChain(t *testing.T) {
	state := testState(
		testPolicy("all", networking.NetworkPolicySpec{}),
		testPolicy("only-a", networking.NetworkPolicySpec{PodSelector: meta.LabelSelector{MatchLabels: map[string]string{"pod": "a"}}}))
	state.Pods = append(state.Pods, testPod("x", "d", "worker-1", "10.1.0.9"))
	rules := compiled(t, state)
	verdicts := rules.Sets["ingress-pods-4"].Elements
	if verdicts["10.1.0.2"] != verdicts["10.1.0.9"] || verdicts["10.1.0.1"] == verdicts["10.1.0.2"] {
		t.Fatalf("verdicts: %v", verdicts)
	}
	if n := len(chainFor(rules, "in-pods-")); n != 2 {
		t.Fatalf("%d chains of pods, not 2", n)
	}
}

func TestEqualPeersShareASet(t *testing.T) {
	from := networking.NetworkPolicyIngressRule{From: []networking.NetworkPolicyPeer{{NamespaceSelector: &meta.LabelSelector{}}}}
	rules := compiled(t, testState(
		testPolicy("one", networking.NetworkPolicySpec{Ingress: []networking.NetworkPolicyIngressRule{from}}),
		testPolicy("two", networking.NetworkPolicySpec{Ingress: []networking.NetworkPolicyIngressRule{from}})))
	var peers []string
	for name := range rules.Sets {
		if strings.HasPrefix(name, "peers-") {
			peers = append(peers, name)
		}
	}
	if len(peers) != 1 || len(rules.Sets[peers[0]].Elements) != 4 {
		t.Fatalf("sets of peers: %v", peers)
	}
}

func TestPolicyTypes(t *testing.T) {
	egress := []networking.NetworkPolicyEgressRule{{}}
	for name, c := range map[string]struct {
		spec    networking.NetworkPolicySpec
		in, out bool
	}{
		"none":             {networking.NetworkPolicySpec{}, true, false},
		"none, with rules": {networking.NetworkPolicySpec{Egress: egress}, true, true},
		"Egress":           {networking.NetworkPolicySpec{PolicyTypes: []networking.PolicyType{"Egress"}}, false, true},
		"Ingress, with egress rules": {
			networking.NetworkPolicySpec{PolicyTypes: []networking.PolicyType{"Ingress"}, Egress: egress}, true, false},
	} {
		rules := compiled(t, testState(testPolicy("p", c.spec)))
		in, out := len(rules.Sets["ingress-pods-4"].Elements) > 0, len(rules.Sets["egress-pods-4"].Elements) > 0
		if in != c.in || out != c.out {
			t.Errorf("%s: isolated in %v, out %v", name, in, out)
		}
	}
}

func TestFaultsIsolateAndAllowNothing(t *testing.T) {
	tcp, icmp := core.ProtocolTCP, core.Protocol("ICMP")
	low := int32(10)
	port := intstr.FromInt32(80)
	for name, rule := range map[string]networking.NetworkPolicyIngressRule{
		"ipBlock": {From: []networking.NetworkPolicyPeer{{IPBlock: &networking.IPBlock{CIDR: "10.0.0.300/8"}}}},
		"except": {From: []networking.NetworkPolicyPeer{
			{IPBlock: &networking.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"x"}}}}},
		"protocol": {Ports: []networking.NetworkPolicyPort{{Protocol: &icmp}}},
		"endPort":  {Ports: []networking.NetworkPolicyPort{{Protocol: &tcp, Port: &port, EndPort: &low}}},
		"selector": {From: []networking.NetworkPolicyPeer{{PodSelector: &meta.LabelSelector{
			MatchExpressions: []meta.LabelSelectorRequirement{{Key: "pod", Operator: "Sometimes"}}}}}},
	} {
		spec := networking.NetworkPolicySpec{Ingress: []networking.NetworkPolicyIngressRule{rule}}
		rules, errs := Compile(testState(testPolicy("faulty", spec)))
		if len(errs) != 1 || !strings.Contains(errs[0].Error(), "x/faulty") {
			t.Errorf("%s: faults %v", name, errs)
		}
		if chains := chainFor(rules, "in-policy-"); len(chains) != 1 || len(chains[0].Rules) != 0 {
			t.Errorf("%s: chains %v", name, chains)
		}
	}
}

func TestPortsAreMerged(t *testing.T) {
	got := mergePorts([]string{"tcp . 80", "udp . 53", "tcp . 90-99", "tcp . 85-90", "tcp . 81", "tcp . 80"})
	want := []string{"tcp . 80-81", "tcp . 85-99", "udp . 53"}
	if !slices.Equal(got, want) {
		t.Fatalf("%v, not %v", got, want)
	}
}

func TestSubtract(t *testing.T) {
	for _, c := range []struct {
		cidr   string
		except []string
		want   string
	}{
		{"10.0.0.0/24", nil, "10.0.0.0-10.0.0.255"},
		{"10.0.0.7/24", nil, "10.0.0.0-10.0.0.255"},
		{"10.0.0.1/32", nil, "10.0.0.1"},
		{"10.0.0.0/24", []string{"10.0.0.0/25"}, "10.0.0.128-10.0.0.255"},
		{"10.0.0.0/24", []string{"10.0.0.128/25"}, "10.0.0.0-10.0.0.127"},
		{"10.0.0.0/24", []string{"10.0.0.64/26", "10.0.0.66/32"}, "10.0.0.0-10.0.0.63 10.0.0.128-10.0.0.255"},
		{"10.0.0.0/30", []string{"10.0.0.2/32", "10.0.0.1/32"}, "10.0.0.0 10.0.0.3"},
		{"10.0.0.0/24", []string{"10.0.0.0/8"}, ""},
		{"10.0.0.0/24", []string{"192.0.2.0/24", "fd00::/8"}, "10.0.0.0-10.0.0.255"},
		{"0.0.0.0/0", []string{"255.255.255.255/32", "0.0.0.0/32"}, "0.0.0.1-255.255.255.254"},
		{"fd00::/126", []string{"fd00::1/128"}, "fd00:: fd00::2-fd00::3"},
	} {
		var except []netip.Prefix
		for _, text := range c.except {
			except = append(except, netip.MustParsePrefix(text))
		}
		var got []string
		for _, s := range subtract(netip.MustParsePrefix(c.cidr), except) {
			got = append(got, s.String())
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s except %v: %v, not %s", c.cidr, c.except, got, c.want)
		}
	}
}

func TestEqualStatesGiveEqualRules(t *testing.T) {
	spec := networking.NetworkPolicySpec{Ingress: []networking.NetworkPolicyIngressRule{
		{From: []networking.NetworkPolicyPeer{{NamespaceSelector: &meta.LabelSelector{}}}}}}
	state := testState(testPolicy("p", spec), testPolicy("q", spec))
	again := testState(testPolicy("p", spec), testPolicy("q", spec))
	slices.Reverse(again.Pods)
	first, second := compiled(t, state), compiled(t, again)
	if digest(first) != digest(second) {
		t.Fatal("the order of pods shows in the rules")
	}
}
