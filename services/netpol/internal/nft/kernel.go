package nft

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/knftables"
)

// Kernel remembers what was last written to the table, so that a change costs what changed and not what there is.
// It is not safe for concurrent use.
type Kernel struct {
	nft     knftables.Interface
	applied *Ruleset
	// Dropped packets of counters that a replaced or shrunk table took with it.
	carried map[string]uint64
}

// Open finds the nft command and checks that it works here.
func Open() (*Kernel, error) {
	nft, err := knftables.New(knftables.InetFamily, Table)
	if err != nil {
		return nil, fmt.Errorf("nftables cannot be used (is nft installed, and is CAP_NET_ADMIN given?): %w", err)
	}
	return Over(nft), nil
}

// Over works through a given interface; for tests.
func Over(nft knftables.Interface) *Kernel {
	return &Kernel{nft: nft, carried: map[string]uint64{}}
}

// Apply brings the table to want. After an error the table is as it was before, and the next Apply rewrites all of it.
// It says whether anything was written.
func (k *Kernel) Apply(ctx context.Context, want *Ruleset) (bool, error) {
	tx := k.nft.NewTransaction()
	if k.applied == nil {
		Replace(tx, want)
	} else if err := Change(tx, k.applied, want); err != nil {
		k.Forget()
		tx = k.nft.NewTransaction()
		Replace(tx, want)
	}
	if tx.NumOperations() == 0 {
		return false, nil
	}
	before := k.counted(ctx)
	if err := k.nft.Run(ctx, tx); err != nil {
		k.Forget()
		return false, fmt.Errorf("nft refused a transaction of %d operations: %w", tx.NumOperations(), err)
	}
	for name, packets := range before {
		if _, kept := want.Counters[name]; !kept || k.applied == nil {
			k.carried[name] += packets
		}
	}
	k.applied = want
	return true, nil
}

// Forget makes the next Apply rewrite the whole table.
func (k *Kernel) Forget() { k.applied = nil }

// Intact says whether the kernel still has the chains, sets and maps last written: another program's
// `nft flush ruleset` (Debian's nftables.service does it on start) would open every pod.
func (k *Kernel) Intact(ctx context.Context) (bool, error) {
	if k.applied == nil {
		return false, nil
	}
	all, err := k.nft.ListAll(ctx)
	if err != nil {
		if knftables.IsNotFound(err) {
			return false, nil
		}
		return false, fmt.Errorf("the table %s cannot be listed: %w", Table, err)
	}
	chains, sets, maps := k.applied.Names()
	for kind, want := range map[string][]string{"chain": chains, "set": sets, "map": maps} {
		have := slices.Sorted(slices.Values(all[kind]))
		if !slices.Equal(have, want) {
			return false, nil
		}
	}
	return true, nil
}

// Dropped gives the packets that each counter has seen since the agent started.
func (k *Kernel) Dropped(ctx context.Context) map[string]uint64 {
	total := k.counted(ctx)
	for name, packets := range k.carried {
		total[name] += packets
	}
	return total
}

// Remove deletes the table: every pod is open then.
func (k *Kernel) Remove(ctx context.Context) error {
	tx := k.nft.NewTransaction()
	tx.Add(&knftables.Table{})
	tx.Delete(&knftables.Table{})
	k.Forget()
	return k.nft.Run(ctx, tx)
}

func (k *Kernel) counted(ctx context.Context) map[string]uint64 {
	counted := map[string]uint64{}
	if names, err := k.nft.List(ctx, "counter"); err != nil || len(names) == 0 {
		return counted
	}
	if counters, err := k.nft.ListCounters(ctx); err == nil {
		for _, counter := range counters {
			// The library's fake puts nil before the real ones.
			if counter != nil && counter.Packets != nil {
				counted[counter.Name] = *counter.Packets
			}
		}
	}
	return counted
}
