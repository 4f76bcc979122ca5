package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/knftables"

	"armillary/netpol/internal/nft"
)

func testPod(name, node, address string) *core.Pod {
	pod := &core.Pod{
		ObjectMeta: meta.ObjectMeta{Namespace: "x", Name: name, UID: types.UID("uid-" + name)},
		Spec:       core.PodSpec{NodeName: node},
		Status:     core.PodStatus{Phase: core.PodRunning},
	}
	if address != "" {
		pod.Status.PodIPs = []core.PodIP{{IP: address}}
	}
	return pod
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	limit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for !condition() {
		if !pause(limit, 5*time.Millisecond) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func isolated(table *knftables.Fake) string {
	elements, _ := table.ListElements(context.Background(), "map", "ingress-pods-4")
	var keys []string
	for _, element := range elements {
		keys = append(keys, element.Key[0])
	}
	return strings.Join(keys, " ")
}

func TestTheTableFollowsTheCluster(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	client := fake.NewClientset(
		&core.Node{ObjectMeta: meta.ObjectMeta{Name: "worker-1"}, Spec: core.NodeSpec{PodCIDRs: []string{"10.1.0.0/24"}}},
		&core.Namespace{ObjectMeta: meta.ObjectMeta{Name: "x"}},
		testPod("a", "worker-1", "10.1.0.1"), testPod("b", "worker-2", "10.2.0.1"))
	table := knftables.NewFake(knftables.InetFamily, nft.Table)
	cluster := NewCluster(client, "worker-1")
	cache := t.TempDir()
	keeper := New(Settings{Node: "worker-1", FailClosed: true, CNICache: cache, Gather: time.Millisecond},
		nft.Over(table), cluster.Objects)
	if err := cluster.Start(ctx, keeper.Changed); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- keeper.Run(ctx) }()

	policies := client.NetworkingV1().NetworkPolicies("x")
	deny := &networking.NetworkPolicy{ObjectMeta: meta.ObjectMeta{Namespace: "x", Name: "deny"}}
	if _, err := policies.Create(ctx, deny, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the local pod is isolated, the other not", func() bool { return isolated(table) == "10.1.0.1" })

	if _, err := client.CoreV1().Pods("x").Create(ctx, testPod("c", "worker-1", ""), meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(cache, "cbr0-1-eth0"), "uid-c", "10.1.0.3/24")
	eventually(t, "the runtime's address is isolated", func() bool { return strings.Contains(isolated(table), "10.1.0.3") })

	if err := policies.Delete(ctx, "deny", meta.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no pod is isolated", func() bool { return isolated(table) == "" })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if chains, _ := table.List(context.Background(), "chain"); len(chains) != 3 {
		t.Fatalf("the rules must outlive the agent: %v", chains)
	}
}

func write(t *testing.T, path, uid, address string) {
	t.Helper()
	text := fmt.Sprintf(`{"cniArgs":[["IgnoreUnknown","1"],["K8S_POD_UID",%q]],"result":{"ips":[{"address":%q}]}}`, uid, address)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheNewestSandboxOfAPodAndOfAnAddressIsRight(t *testing.T) {
	directory := t.TempDir()
	now := time.Now()
	for i, sandbox := range []struct{ uid, address string }{
		{"old-pod", "10.1.0.1/24"}, {"rebooted", "10.1.0.2/24"}, {"new-pod", "10.1.0.1/24"}, {"rebooted", "10.1.0.3/24"},
		{"new-pod", "127.0.0.1/8"}, {"rebooted", "127.0.0.1/8"}, // the runtime also attaches each pod to cni-loopback
	} {
		path := filepath.Join(directory, fmt.Sprintf("cbr0-%d-eth0", 9-i))
		write(t, path, sandbox.uid, sandbox.address)
		if err := os.Chtimes(path, now, now.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(directory, "cbr0-half-eth0"), []byte(`{"cniArgs":[["K8S`), 0o600); err != nil {
		t.Fatal(err)
	}
	given := readSandboxes(directory)
	reported := []netip.Addr{netip.MustParseAddr("10.1.0.1")}
	for uid, want := range map[types.UID]string{
		"new-pod": "[10.1.0.1]", "rebooted": "[10.1.0.3]", "old-pod": "[]", "not-in-the-cache": "[]",
	} {
		if got := fmt.Sprint(given.of(uid, reported)); got != want {
			t.Errorf("%s: %s, not %s", uid, got, want)
		}
	}
	if got := fmt.Sprint(sandboxes{}.of("any", reported)); got != "[10.1.0.1]" {
		t.Errorf("without the runtime's word: %s", got)
	}
}

func TestHealthTellsOfFailingSyncs(t *testing.T) {
	fails := fmt.Errorf("no such thing")
	keeper := New(Settings{Node: "worker-1", StaleAfter: time.Nanosecond},
		nft.Over(knftables.NewFake(knftables.InetFamily, nft.Table)), func() (Objects, error) { return Objects{}, fails })
	if err := keeper.Sync(context.Background()); err == nil {
		t.Fatal("no error")
	}
	answer := httptest.NewRecorder()
	keeper.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	if answer.Code != http.StatusServiceUnavailable || !strings.Contains(answer.Body.String(), "no such thing") {
		t.Fatalf("%d %s", answer.Code, answer.Body)
	}
}

func TestNamedPortsOfContainersAndSidecars(t *testing.T) {
	always := core.ContainerRestartPolicyAlways
	port := func(name string) []core.ContainerPort { return []core.ContainerPort{{Name: name, ContainerPort: 80}} }
	pod := testPod("a", "worker-1", "10.1.0.1")
	pod.Spec.Containers = []core.Container{{Ports: port("main")}, {Ports: []core.ContainerPort{{ContainerPort: 81}}}}
	pod.Spec.InitContainers = []core.Container{{Ports: port("init")}, {Ports: port("sidecar"), RestartPolicy: &always}}
	// As the informer keeps it.
	kept, _ := strip(pod)
	got, _ := json.Marshal(namedPorts(kept.(*core.Pod)))
	want := `[{"Name":"main","Protocol":"tcp","Number":80},{"Name":"sidecar","Protocol":"tcp","Number":80}]`
	if string(got) != want {
		t.Fatalf("%s", got)
	}
}
