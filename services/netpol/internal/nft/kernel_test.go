package nft

import (
	"context"
	"strings"
	"testing"

	"sigs.k8s.io/knftables"
)

func ruleset(pods ...string) *Ruleset {
	r := New()
	r.Counters["ingress-x"] = ""
	r.Chains["ingress"] = Chain{Priority: "filter", Rules: []string{"ip daddr vmap @pods"}}
	r.Chains["in-x"] = Chain{Comment: "x/policy", Rules: []string{"ip saddr @peers accept", "counter name ingress-x drop"}}
	r.Sets["peers"] = Set{Type: "ipv4_addr", Elements: map[string]string{"10.0.0.9": ""}}
	r.Sets["pods"] = Set{Type: "ipv4_addr", IsMap: true, Elements: map[string]string{}}
	for _, pod := range pods {
		r.Sets["pods"].Elements[pod] = "goto in-x"
	}
	return r
}

func kernel(t *testing.T) (*Kernel, *knftables.Fake) {
	t.Helper()
	fake := knftables.NewFake(knftables.InetFamily, Table)
	return Over(fake), fake
}

func apply(t *testing.T, k *Kernel, want *Ruleset) bool {
	t.Helper()
	wrote, err := k.Apply(context.Background(), want)
	if err != nil {
		t.Fatal(err)
	}
	return wrote
}

func TestApplyWritesOnlyChanges(t *testing.T) {
	k, fake := kernel(t)
	if !apply(t, k, ruleset("10.0.0.1")) {
		t.Fatal("nothing written at first")
	}
	if apply(t, k, ruleset("10.0.0.1")) {
		t.Fatal("the same again was written")
	}
	tx := fake.NewTransaction()
	if err := Change(tx, ruleset("10.0.0.1"), ruleset("10.0.0.1", "10.0.0.2")); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(tx.String()); got != "add element inet armillary-netpol pods { 10.0.0.2 : goto in-x }" {
		t.Fatalf("one more pod costs: %s", got)
	}
	apply(t, k, ruleset("10.0.0.2"))
	elements, err := fake.ListElements(context.Background(), "map", "pods")
	if err != nil || len(elements) != 1 || elements[0].Key[0] != "10.0.0.2" {
		t.Fatalf("elements %v, error %v", elements, err)
	}
}

// From every ruleset to every other, with all checks of references that the fake makes.
func TestEveryChangeIsAValidTransaction(t *testing.T) {
	other := ruleset("10.0.0.3")
	delete(other.Sets, "peers")
	delete(other.Chains, "in-x")
	delete(other.Counters, "ingress-x")
	other.Chains["in-y"] = Chain{Rules: []string{"drop"}}
	other.Sets["pods"].Elements["10.0.0.3"] = "goto in-y"
	redeclared := ruleset("10.0.0.1")
	redeclared.Sets["peers"] = Set{Type: "ipv6_addr", Elements: map[string]string{"fd00::9": ""}}
	redeclared.Chains["in-x"] = Chain{Comment: "x/policy", Rules: []string{"ip6 saddr @peers accept"}}
	all := []*Ruleset{ruleset(), ruleset("10.0.0.1"), other, redeclared, New()}
	for i, from := range all {
		for j, to := range all {
			k, fake := kernel(t)
			apply(t, k, from)
			apply(t, k, to)
			fresh, reference := kernel(t)
			apply(t, fresh, to)
			if fake.Dump() != reference.Dump() {
				t.Errorf("from %d to %d:\n%s\nnot\n%s", i, j, fake.Dump(), reference.Dump())
			}
			if intact, err := k.Intact(context.Background()); err != nil || !intact {
				t.Errorf("from %d to %d: not intact, %v", i, j, err)
			}
		}
	}
}

func TestAFailedTransactionIsFollowedByAWholeOne(t *testing.T) {
	k, fake := kernel(t)
	apply(t, k, ruleset("10.0.0.1"))
	tx := fake.NewTransaction()
	tx.Delete(&knftables.Element{Map: "pods", Key: []string{"10.0.0.1"}})
	if err := fake.Run(context.Background(), tx); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Apply(context.Background(), ruleset("10.0.0.2")); err == nil {
		t.Fatal("deleting an element that somebody else deleted must fail")
	}
	apply(t, k, ruleset("10.0.0.2"))
	elements, _ := fake.ListElements(context.Background(), "map", "pods")
	if len(elements) != 1 || elements[0].Key[0] != "10.0.0.2" {
		t.Fatalf("elements: %v", elements)
	}
}

func TestIntactSeesAMissingTable(t *testing.T) {
	k, fake := kernel(t)
	apply(t, k, ruleset())
	tx := fake.NewTransaction()
	tx.Delete(&knftables.Table{})
	if err := fake.Run(context.Background(), tx); err != nil {
		t.Fatal(err)
	}
	if intact, err := k.Intact(context.Background()); err != nil || intact {
		t.Fatalf("intact %v, error %v", intact, err)
	}
}

func TestCommentsAreMadeFit(t *testing.T) {
	got := *comment("a \"b\" \\ é " + strings.Repeat("c", 200))
	if len(got) != knftables.CommentLengthMax-1 || strings.ContainsAny(got, "\"\\é") {
		t.Fatalf("%q", got)
	}
}
