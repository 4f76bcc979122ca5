// Command netpol enforces Kubernetes NetworkPolicy on the node that it runs on, with nftables.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"armillary/netpol/internal/agent"
	"armillary/netpol/internal/nft"
)

type options struct {
	settings   agent.Settings
	kubeconfig string
	offline    string
	listen     string
	once       bool
	cleanup    bool
}

func main() {
	var o options
	flag.StringVar(&o.settings.Node, "node", os.Getenv("NODE_NAME"), "name of the node that this runs on (default: $NODE_NAME)")
	flag.StringVar(&o.settings.CNICache, "cni-cache", "",
		"directory where the container runtime's CNI library keeps the addresses it gave (usually /var/lib/cni/results)")
	flag.DurationVar(&o.settings.CheckInterval, "check-interval", 30*time.Second,
		"how often to check that no other program has changed the rules")
	flag.BoolVar(&o.settings.FailClosed, "fail-closed", true,
		"do not forward for addresses of the node's pod network until the policies of their pods are in place")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file (default: the pod's service account)")
	flag.StringVar(&o.listen, "listen", "127.0.0.1:9474", "address for /healthz and /metrics")
	flag.StringVar(&o.offline, "offline", "", "follow the objects in this directory's *.yaml in place of the API server's")
	flag.BoolVar(&o.once, "once", false, "with --offline: write the rules once, and end")
	flag.BoolVar(&o.cleanup, "cleanup", false, "delete all rules, which opens every pod of the node, and end")
	flag.Parse()
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		slog.Error("netpol ends", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	kernel, err := nft.Open()
	if err != nil {
		return err
	}
	switch {
	case o.cleanup:
		return kernel.Remove(ctx)
	case o.settings.Node == "":
		return errors.New("the node's name is not known: give --node")
	case o.offline != "":
		return offline(ctx, o, kernel)
	}
	return follow(ctx, o, kernel)
}

func offline(ctx context.Context, o options, kernel *nft.Kernel) error {
	o.settings.Watched = []string{o.offline}
	keeper := agent.New(o.settings, kernel, func() (agent.Objects, error) {
		return agent.FromFiles(o.offline, o.settings.Node)
	})
	if o.once {
		return keeper.Sync(ctx)
	}
	return serve(ctx, o.listen, keeper, keeper.Run)
}

func follow(ctx context.Context, o options, kernel *nft.Kernel) error {
	config, err := clusterConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	config.UserAgent = "armillary-netpol"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	cluster := agent.NewCluster(client, o.settings.Node)
	keeper := agent.New(o.settings, kernel, cluster.Objects)
	return serve(ctx, o.listen, keeper, func(ctx context.Context) error {
		if err := cluster.Start(ctx, keeper.Changed); err != nil {
			return err
		}
		return keeper.Run(ctx)
	})
}

// serve answers for the agent's health while run goes on.
func serve(ctx context.Context, address string, keeper *agent.Agent, run func(context.Context) error) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	server := &http.Server{Handler: keeper.Handler(), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	defer func() { _ = server.Close() }()
	return run(ctx)
}

func clusterConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}
