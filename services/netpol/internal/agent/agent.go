// Package agent keeps the rules of one node equal to the cluster's policies.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"armillary/netpol/internal/nft"
	"armillary/netpol/internal/policy"
)

// Settings of an agent. The zero value of a time means its default.
type Settings struct {
	Node          string        // the name of the node that the agent runs on
	CNICache      string        // the directory where libcni writes the addresses of sandboxes; empty: not read
	Watched       []string      // directories in which every change calls for a sync, beside CNICache
	FailClosed    bool          // refuse addresses of the node's pod network that no known pod has
	Gather        time.Duration // how long to gather changes before a sync (50 ms)
	CheckInterval time.Duration // how often to check that nobody changed the table (30 s)
	RetryInterval time.Duration // how long to wait after a failed sync (1 s)
	StaleAfter    time.Duration // unhealthy after no sync succeeded for this long (60 s)
}

func (s Settings) withDefaults() Settings {
	for _, field := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&s.Gather, 50 * time.Millisecond}, {&s.CheckInterval, 30 * time.Second},
		{&s.RetryInterval, time.Second}, {&s.StaleAfter, time.Minute},
	} {
		if *field.value == 0 {
			*field.value = field.usual
		}
	}
	return s
}

// Agent writes the table whenever what it follows from has changed.
type Agent struct {
	settings Settings
	objects  func() (Objects, error)
	changed  chan struct{}

	mutex    sync.Mutex // guards all below
	kernel   *nft.Kernel
	metrics  Metrics
	lastGood time.Time
	lastErr  error
	faulty   map[string]bool // policies named in the log already
}

// Metrics are what the agent tells about itself.
type Metrics struct {
	Syncs, Failures, Repairs      uint64
	LastSyncSeconds               float64
	Pods, Policies, FaultyObjects int
}

// New makes an agent that asks objects for the cluster's state; objects must not be changed after it has returned.
func New(settings Settings, kernel *nft.Kernel, objects func() (Objects, error)) *Agent {
	return &Agent{
		settings: settings.withDefaults(), kernel: kernel, objects: objects, changed: make(chan struct{}, 1),
		lastGood: time.Now(), faulty: map[string]bool{},
	}
}

// Changed tells the agent to sync soon. It never blocks.
func (a *Agent) Changed() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// Sync brings the table to what objects say now. On failure the rules stay as they were.
func (a *Agent) Sync(ctx context.Context) error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	start := time.Now()
	err := a.sync(ctx, start)
	a.metrics.Syncs++
	a.metrics.LastSyncSeconds = time.Since(start).Seconds()
	a.lastErr = err
	if err != nil {
		a.metrics.Failures++
		return err
	}
	a.lastGood = time.Now()
	return nil
}

func (a *Agent) sync(ctx context.Context, start time.Time) error {
	objects, err := a.objects()
	if err != nil {
		return err
	}
	var given sandboxes
	if a.settings.CNICache != "" {
		given = readSandboxes(a.settings.CNICache)
	}
	state := stateOf(a.settings.Node, objects, given, a.settings.FailClosed)
	rules, faults := policy.Compile(state)
	a.report(faults)
	a.metrics.Pods, a.metrics.Policies, a.metrics.FaultyObjects = len(state.Pods), len(state.Policies), len(faults)
	wrote, err := a.kernel.Apply(ctx, rules)
	if err != nil {
		return err
	}
	if wrote {
		slog.Info("rules written", "pods", len(state.Pods), "policies", len(state.Policies),
			"chains", len(rules.Chains), "seconds", time.Since(start).Seconds())
	}
	return nil
}

// report logs each fault once, for as long as it lasts.
func (a *Agent) report(faults []error) {
	still := map[string]bool{}
	for _, fault := range faults {
		still[fault.Error()] = true
		if !a.faulty[fault.Error()] {
			slog.Error("a rule is left out, so it allows nothing; correct the policy", "error", fault)
		}
	}
	a.faulty = still
}

// Run syncs on every change until ctx ends. The rules stay in the kernel then.
func (a *Agent) Run(ctx context.Context) error {
	stop, err := a.watchDirectories(ctx)
	if err != nil {
		return err
	}
	defer stop()
	check := time.NewTicker(a.settings.CheckInterval)
	defer check.Stop()
	a.Changed()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-check.C:
			a.repair(ctx)
		case <-a.changed:
			// A new pod waits for this when FailClosed, so changes are gathered for a moment only.
			if !pause(ctx, a.settings.Gather) {
				return nil
			}
		}
		if err := a.Sync(ctx); err != nil && ctx.Err() == nil {
			slog.Error("the rules of the last good sync stay in force; trying again", "error", err)
			if !pause(ctx, a.settings.RetryInterval) {
				return nil
			}
			a.Changed()
		}
	}
}

// repair makes the next sync rewrite the table if somebody else has changed it.
func (a *Agent) repair(ctx context.Context) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if intact, err := a.kernel.Intact(ctx); err == nil && !intact {
		slog.Warn("another program has changed or flushed the table; it is written anew", "table", nft.Table)
		a.metrics.Repairs++
		a.kernel.Forget()
	}
}

// Health is nil when the rules are those of the cluster's state a moment ago.
func (a *Agent) Health() error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if since := time.Since(a.lastGood); since > a.settings.StaleAfter {
		return fmt.Errorf("no sync has succeeded for %.0f s: %w", since.Seconds(), errors.Join(a.lastErr))
	}
	return nil
}

// Snapshot gives the metrics and the dropped packets of each counter.
func (a *Agent) Snapshot(ctx context.Context) (Metrics, map[string]uint64) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.metrics, a.kernel.Dropped(ctx)
}

func (a *Agent) watchDirectories(ctx context.Context) (stop func(), err error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("files cannot be watched (fs.inotify.max_user_instances reached?): %w", err)
	}
	directories := a.settings.Watched
	if a.settings.CNICache != "" {
		directories = append(slices.Clone(directories), a.settings.CNICache)
	}
	for _, directory := range directories {
		if err := watcher.Add(directory); err != nil {
			_ = watcher.Close()
			return nil, fmt.Errorf("%s cannot be watched; is it mounted?: %w", directory, err)
		}
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case _, open := <-watcher.Events:
				if !open {
					return
				}
			case _, open := <-watcher.Errors: // an overflow: events were lost
				if !open {
					return
				}
			}
			a.Changed()
		}
	}()
	return func() { _ = watcher.Close() }, nil
}

func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
