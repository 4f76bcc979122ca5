// Command ingress is an Ingress controller that is its own proxy: Caddy, as a library.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"armillary/ingress/internal/controller"
	"armillary/ingress/internal/edge"
)

type options struct {
	settings   controller.Settings
	kubeconfig string
	drain      time.Duration
	grace      time.Duration
}

func main() {
	var o options
	s := &o.settings
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file (default: the pod's service account)")
	flag.StringVar(&s.Edge.HTTP, "http", ":8080", "address that redirects to HTTPS")
	flag.StringVar(&s.Edge.HTTPS, "https", ":8443", "address that serves")
	flag.StringVar(&s.Edge.Ops, "ops", ":8090", "address of /healthz, /readyz and /metrics")
	flag.StringVar(&s.DefaultCertificate, "certificate", "", "PEM file: the certificate of hosts that no secret names")
	flag.StringVar(&s.DefaultKey, "certificate-key", "", "PEM file: its key")
	flag.StringVar(&s.Publish, "publish", "", "address or name to write into the status of Ingress objects")
	flag.Func("proxy-protocol", "CIDR of a load balancer whose PROXY header is believed; may be given again", func(cidr string) error {
		s.Edge.ProxyProtocol = append(s.Edge.ProxyProtocol, strings.TrimSpace(cidr))
		return nil
	})
	flag.DurationVar(&s.Edge.HSTS, "hsts", 365*24*time.Hour, "how long browsers shall insist on HTTPS; 0: not told")
	flag.StringVar(&s.Edge.BackendCA, "backend-ca", "", "PEM file: who may sign the certificates of HTTPS backends (default: the system's)")
	flag.StringVar(&s.Edge.ACME.CA, "acme-directory", "", "ACME directory for hosts under `tls` that name no secret (default: none is asked)")
	flag.StringVar(&s.Edge.ACME.Email, "acme-email", "", "whom the ACME authority may write to")
	flag.StringVar(&s.Edge.DataDirectory, "data", "/data", "directory for ACME certificates; all instances must share it")
	flag.BoolVar(&s.Edge.AccessLog, "access-log", false, "log every request")
	flag.DurationVar(&o.drain, "drain", 5*time.Second, "how long to serve on, not ready, before ending")
	flag.DurationVar(&o.grace, "grace", 20*time.Second, "how long requests may take to finish when ending")
	flag.Parse()
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	if err := run(o); err != nil {
		slog.Error("ingress ends", "error", err)
		os.Exit(1)
	}
}

func run(o options) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	config, err := clusterConfig(o.kubeconfig)
	if err != nil {
		return err
	}
	config.UserAgent = "armillary-ingress"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	keeper := controller.New(client, o.settings)
	if err := keeper.Run(ctx); err != nil {
		return err
	}
	// A second signal ends the process at once.
	stop()
	keeper.Drain()
	time.Sleep(o.drain)
	done := make(chan error, 1)
	go func() { done <- edge.Stop() }()
	select {
	case err := <-done:
		return err
	case <-time.After(o.grace):
		return fmt.Errorf("requests were still open after %s", o.grace)
	}
}

func clusterConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}
