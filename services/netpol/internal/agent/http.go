package agent

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Handler serves /healthz, and /metrics in the text format of Prometheus.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := a.Health(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		metrics, dropped := a.Snapshot(r.Context())
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write([]byte(metrics.text(dropped)))
	})
	return mux
}

func (m Metrics) text(dropped map[string]uint64) string {
	var text strings.Builder
	head := func(name, kind, help string) {
		fmt.Fprintf(&text, "# HELP armillary_netpol_%s %s\n# TYPE armillary_netpol_%s %s\n", name, help, name, kind)
	}
	one := func(name, kind, help string, value any) {
		head(name, kind, help)
		fmt.Fprintf(&text, "armillary_netpol_%s %v\n", name, value)
	}
	one("syncs_total", "counter", "Syncs tried.", m.Syncs)
	one("sync_failures_total", "counter", "Syncs failed; the rules before them stayed.", m.Failures)
	one("repairs_total", "counter", "Times that another program had changed the table.", m.Repairs)
	one("last_sync_seconds", "gauge", "Duration of the last sync.", m.LastSyncSeconds)
	one("pods", "gauge", "Pods with addresses of their own in the cluster.", m.Pods)
	one("policies", "gauge", "Policies in the cluster.", m.Policies)
	one("faulty_rules", "gauge", "Rules of policies that cannot be understood; they allow nothing.", m.FaultyObjects)
	head("dropped_packets_total", "counter", "Packets dropped, by the direction and the namespace of the isolated pod.")
	for _, name := range slices.Sorted(maps.Keys(dropped)) {
		direction, namespace, _ := strings.Cut(name, "-")
		if name == "unknown-pod" {
			direction, namespace = name, ""
		}
		fmt.Fprintf(&text, "armillary_netpol_dropped_packets_total{direction=%q,namespace=%q} %d\n",
			direction, namespace, dropped[name])
	}
	return text.String()
}
