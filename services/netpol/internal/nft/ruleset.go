// Package nft holds a table of nftables as a value, and brings the kernel's table to that value in one transaction.
package nft

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/knftables"
)

// Table is the one table that the agent owns. It touches no other.
const Table = "armillary-netpol"

// Chain is a list of rules; it is attached to a hook when Priority is set: forward, unless Hook says another.
type Chain struct {
	Priority string
	Hook     knftables.BaseChainHook
	Comment  string
	Rules    []string
}

func (c Chain) declaredAs(other Chain) bool {
	return c.Priority == other.Priority && c.Hook == other.Hook && c.Comment == other.Comment
}

// Set is a set, or a map when IsMap: Elements then has a verdict for each key.
// The parts of a concatenated key are joined by " . ", as nft writes them.
type Set struct {
	Type     string
	Interval bool
	IsMap    bool
	Comment  string
	Elements map[string]string
}

func (s Set) declaredAs(other Set) bool {
	return s.Type == other.Type && s.Interval == other.Interval && s.IsMap == other.IsMap && s.Comment == other.Comment
}

// Ruleset is the wanted content of the table.
type Ruleset struct {
	Chains   map[string]Chain
	Sets     map[string]Set
	Counters map[string]string // name: comment
}

// New returns an empty ruleset.
func New() *Ruleset {
	return &Ruleset{Chains: map[string]Chain{}, Sets: map[string]Set{}, Counters: map[string]string{}}
}

// Names are the chains, sets and maps of the ruleset, as List of knftables gives them: sorted.
func (r *Ruleset) Names() (chains, sets, maps []string) {
	for name := range r.Chains {
		chains = append(chains, name)
	}
	for name, set := range r.Sets {
		if set.IsMap {
			maps = append(maps, name)
		} else {
			sets = append(sets, name)
		}
	}
	slices.Sort(chains)
	slices.Sort(sets)
	slices.Sort(maps)
	return chains, sets, maps
}

// Replace writes the transaction that makes the whole table anew, whatever was there. The kernel commits it at once:
// no packet meets a missing table.
func Replace(tx *knftables.Transaction, want *Ruleset) {
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	tx.Add(&knftables.Table{Comment: comment("NetworkPolicy of Kubernetes, written by armillary-netpol")})
	change(tx, New(), want)
}

// Change writes the transaction that turns the table from have to want; nothing where they are equal.
// It fails when a chain or set keeps its name but not its declaration: then use Replace.
func Change(tx *knftables.Transaction, have, want *Ruleset) error {
	for name, chain := range want.Chains {
		if old, found := have.Chains[name]; found && !chain.declaredAs(old) {
			return fmt.Errorf("chain %s was declared otherwise", name)
		}
	}
	for name, set := range want.Sets {
		if old, found := have.Sets[name]; found && !set.declaredAs(old) {
			return fmt.Errorf("set %s was declared otherwise", name)
		}
	}
	change(tx, have, want)
	return nil
}

// The order matters: what is referred to exists before, and is no longer referred to when it goes.
func change(tx *knftables.Transaction, have, want *Ruleset) {
	for _, name := range sorted(want.Counters) {
		if _, found := have.Counters[name]; !found {
			tx.Add(&knftables.Counter{Name: name, Comment: comment(want.Counters[name])})
		}
	}
	for _, name := range sorted(want.Chains) {
		if _, found := have.Chains[name]; !found {
			tx.Add(declareChain(name, want.Chains[name]))
		}
	}
	for _, name := range sorted(want.Sets) {
		if _, found := have.Sets[name]; !found {
			tx.Add(declareSet(name, want.Sets[name]))
		}
	}
	for _, name := range sorted(have.Sets) {
		for _, key := range sorted(have.Sets[name].Elements) {
			old := have.Sets[name].Elements[key]
			if value, found := want.Sets[name].Elements[key]; !found || value != old {
				tx.Delete(element(name, have.Sets[name], key, old))
			}
		}
	}
	for _, name := range sorted(have.Chains) {
		if chain, found := want.Chains[name]; !found || !slices.Equal(chain.Rules, have.Chains[name].Rules) {
			tx.Flush(&knftables.Chain{Name: name})
		}
	}
	for _, name := range sorted(want.Chains) {
		chain := want.Chains[name]
		if old, found := have.Chains[name]; found && slices.Equal(chain.Rules, old.Rules) {
			continue
		}
		for _, rule := range chain.Rules {
			tx.Add(&knftables.Rule{Chain: name, Rule: rule})
		}
	}
	for _, name := range sorted(want.Sets) {
		set := want.Sets[name]
		for _, key := range sorted(set.Elements) {
			if old, found := have.Sets[name].Elements[key]; !found || old != set.Elements[key] {
				tx.Add(element(name, set, key, set.Elements[key]))
			}
		}
	}
	for _, name := range sorted(have.Chains) {
		if _, found := want.Chains[name]; !found {
			tx.Delete(&knftables.Chain{Name: name})
		}
	}
	for _, name := range sorted(have.Sets) {
		if _, found := want.Sets[name]; !found {
			if have.Sets[name].IsMap {
				tx.Delete(&knftables.Map{Name: name})
			} else {
				tx.Delete(&knftables.Set{Name: name})
			}
		}
	}
	for _, name := range sorted(have.Counters) {
		if _, found := want.Counters[name]; !found {
			tx.Delete(&knftables.Counter{Name: name})
		}
	}
}

func declareChain(name string, chain Chain) *knftables.Chain {
	declared := &knftables.Chain{Name: name, Comment: comment(chain.Comment)}
	if chain.Priority != "" {
		declared.Type = knftables.PtrTo(knftables.FilterType)
		declared.Hook = knftables.PtrTo(knftables.ForwardHook)
		if chain.Hook != "" {
			declared.Hook = knftables.PtrTo(chain.Hook)
		}
		declared.Priority = knftables.PtrTo(knftables.BaseChainPriority(chain.Priority))
	}
	return declared
}

func declareSet(name string, set Set) knftables.Object {
	var flags []knftables.SetFlag
	if set.Interval {
		flags = []knftables.SetFlag{knftables.IntervalFlag}
	}
	if set.IsMap {
		return &knftables.Map{Name: name, Type: set.Type + " : verdict", Flags: flags, Comment: comment(set.Comment)}
	}
	return &knftables.Set{Name: name, Type: set.Type, Flags: flags, Comment: comment(set.Comment)}
}

func element(name string, set Set, key, value string) *knftables.Element {
	parts := strings.Split(key, " . ")
	if set.IsMap {
		return &knftables.Element{Map: name, Key: parts, Value: []string{value}}
	}
	return &knftables.Element{Set: name, Key: parts}
}

// comment cuts to what nftables takes, and to characters that need no quoting in nft's language.
func comment(text string) *string {
	if text == "" {
		return nil
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, text)
	if len(text) >= knftables.CommentLengthMax {
		text = text[:knftables.CommentLengthMax-1]
	}
	return &text
}

func sorted[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
