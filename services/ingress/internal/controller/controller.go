// Package controller keeps the proxy equal to the cluster's Ingress objects.
package controller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"

	"armillary/ingress/internal/edge"
	"armillary/ingress/internal/routes"
)

// Settings of the controller.
type Settings struct {
	Edge               edge.Settings
	DefaultCertificate string // PEM file; read again every Refresh
	DefaultKey         string
	Publish            string        // address or name that Ingress objects show as their load balancer's; empty: none
	Refresh            time.Duration // how often certificates are read again (60 s)
	Gather, RetryAfter time.Duration // 100 ms, 2 s
}

// Controller follows the API server and configures the proxy.
type Controller struct {
	settings  Settings
	client    kubernetes.Interface
	factory   informers.SharedInformerFactory
	ingresses networkinglisters.IngressLister
	classes   networkinglisters.IngressClassLister
	services  corelisters.ServiceLister
	slices    discoverylisters.EndpointSliceLister
	changed   chan struct{}

	secrets   map[string]*core.Secret
	refreshed time.Time
	loaded    []byte
	named     map[string]bool // faults that are in the log already

	mutex    sync.Mutex // guards the rest, which other goroutines ask for
	lastErr  error
	synced   bool
	draining bool
}

// New prepares a controller; nothing is asked or listened to before Run.
func New(client kubernetes.Interface, settings Settings) *Controller {
	for _, field := range []struct {
		value *time.Duration
		usual time.Duration
	}{{&settings.Refresh, time.Minute}, {&settings.Gather, 100 * time.Millisecond}, {&settings.RetryAfter, 2 * time.Second}} {
		if *field.value == 0 {
			*field.value = field.usual
		}
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	return &Controller{
		settings: settings, client: client, factory: factory,
		ingresses: factory.Networking().V1().Ingresses().Lister(),
		classes:   factory.Networking().V1().IngressClasses().Lister(),
		services:  factory.Core().V1().Services().Lister(),
		slices:    factory.Discovery().V1().EndpointSlices().Lister(),
		changed:   make(chan struct{}, 1), secrets: map[string]*core.Secret{}, named: map[string]bool{},
	}
}

// Health is nil when the proxy serves what the cluster says; ready is false then while the process ends.
func (c *Controller) Health(ready bool) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	switch {
	case ready && c.draining:
		return errors.New("this instance is ending")
	case ready && !c.synced:
		return errors.New("the API server has not given all objects yet")
	case ready:
		return nil // a configuration that cannot be changed still serves
	}
	return c.lastErr
}

// Drain makes /readyz fail, so that load balancers stop sending, while requests are still served.
func (c *Controller) Drain() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.draining = true
}

// Run follows the cluster until ctx ends. The proxy goes on then: see edge.Stop.
func (c *Controller) Run(ctx context.Context) error {
	edge.SetHealth(c.Health)
	// Before the first objects: so that /healthz answers, and a bad address or certificate shows at once.
	if err := c.configure(&routes.Table{}); err != nil {
		return err
	}
	if err := c.follow(ctx); err != nil {
		return err
	}
	refresh := time.NewTicker(c.settings.Refresh)
	defer refresh.Stop()
	for {
		err := c.sync(ctx)
		c.mutex.Lock()
		c.lastErr = err
		c.synced = c.synced || err == nil
		c.mutex.Unlock()
		wait := c.settings.Gather
		if err != nil && ctx.Err() == nil {
			slog.Error("the configuration before stays in force; trying again", "error", err)
			wait = c.settings.RetryAfter
			c.notify()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-refresh.C:
		case <-c.changed:
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func (c *Controller) notify() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *Controller) follow(ctx context.Context) error {
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { c.notify() }, UpdateFunc: func(_, _ any) { c.notify() }, DeleteFunc: func(any) { c.notify() },
	}
	all := []cache.SharedIndexInformer{
		c.factory.Networking().V1().Ingresses().Informer(), c.factory.Networking().V1().IngressClasses().Informer(),
		c.factory.Core().V1().Services().Informer(), c.factory.Discovery().V1().EndpointSlices().Informer(),
	}
	for _, informer := range all {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	c.factory.Start(ctx.Done())
	for _, informer := range all {
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return errors.New("stopped before the API server gave all objects")
		}
	}
	return nil
}

func (c *Controller) sync(ctx context.Context) error {
	objects, err := c.objects()
	if err != nil {
		return err
	}
	ours := routes.Ours(objects)
	c.readSecrets(ctx, routes.SecretNames(ours))
	objects.Secrets = c.secrets
	table, faults := routes.Build(objects)
	c.report(faults)
	edge.SetEndpoints(table.Endpoints)
	if err := c.configure(table); err != nil {
		return err
	}
	return c.publish(ctx, ours)
}

func (c *Controller) objects() (objects routes.Objects, err error) {
	var errs [4]error
	objects.Ingresses, errs[0] = c.ingresses.List(labels.Everything())
	objects.Classes, errs[1] = c.classes.List(labels.Everything())
	objects.Services, errs[2] = c.services.List(labels.Everything())
	objects.Slices, errs[3] = c.slices.List(labels.Everything())
	return objects, errors.Join(errs[:]...)
}

// readSecrets asks for each secret by its name, which is all that the controller may do: listing or watching would
// let it read every secret of a namespace.
func (c *Controller) readSecrets(ctx context.Context, names []string) {
	stale := time.Since(c.refreshed) >= c.settings.Refresh
	if stale {
		c.refreshed = time.Now()
	}
	kept := map[string]*core.Secret{}
	for _, name := range names {
		if known := c.secrets[name]; known != nil && !stale {
			kept[name] = known
			continue
		}
		namespace, short, _ := strings.Cut(name, "/")
		secret, err := c.client.CoreV1().Secrets(namespace).Get(ctx, short, meta.GetOptions{})
		if err != nil {
			// An API server that is away for a moment must not take a certificate away.
			secret = c.secrets[name]
		}
		kept[name] = secret
	}
	c.secrets = kept
}

// configure loads the proxy's configuration if it differs from the one in force.
func (c *Controller) configure(table *routes.Table) error {
	settings := c.settings.Edge
	if c.settings.DefaultCertificate != "" {
		certificate, err := os.ReadFile(c.settings.DefaultCertificate)
		if err != nil {
			return fmt.Errorf("the default certificate: %w", err)
		}
		key, err := os.ReadFile(c.settings.DefaultKey)
		if err != nil {
			return fmt.Errorf("the default certificate's key: %w", err)
		}
		settings.Default = routes.Certificate{Name: "default", Certificate: string(certificate), Key: string(key)}
	}
	config, faults := edge.Config(settings, table)
	if bytes.Equal(config, c.loaded) {
		return nil
	}
	c.report(faults)
	start := time.Now()
	if err := edge.Load(config); err != nil {
		return err
	}
	c.loaded = config
	slog.Info("configuration loaded", "hosts", len(table.Hosts), "certificates", len(table.Certificates),
		"seconds", time.Since(start).Seconds())
	return nil
}

// report logs each fault once.
func (c *Controller) report(faults []error) {
	for _, fault := range faults {
		if !c.named[fault.Error()] {
			slog.Error("not served as written", "error", fault)
			c.named[fault.Error()] = true
		}
	}
}

// publish writes into each Ingress where it can be reached. All instances write the same, so none has to lead.
func (c *Controller) publish(ctx context.Context, ours []*networking.Ingress) error {
	if c.settings.Publish == "" {
		return nil
	}
	want := []networking.IngressLoadBalancerIngress{{Hostname: c.settings.Publish}}
	if _, err := netip.ParseAddr(c.settings.Publish); err == nil {
		want = []networking.IngressLoadBalancerIngress{{IP: c.settings.Publish}}
	}
	var errs []error
	for _, ingress := range ours {
		if slices.EqualFunc(ingress.Status.LoadBalancer.Ingress, want, func(a, b networking.IngressLoadBalancerIngress) bool {
			return a.IP == b.IP && a.Hostname == b.Hostname
		}) {
			continue
		}
		changed := ingress.DeepCopy()
		changed.Status.LoadBalancer.Ingress = want
		_, err := c.client.NetworkingV1().Ingresses(ingress.Namespace).UpdateStatus(ctx, changed, meta.UpdateOptions{})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, fmt.Errorf("the status of Ingress %s/%s: %w", ingress.Namespace, ingress.Name, err))
		}
	}
	return errors.Join(errs...)
}
