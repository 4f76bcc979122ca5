package agent

import (
	"context"
	"errors"
	"fmt"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
)

// Cluster follows the API server.
type Cluster struct {
	node       string
	nodes      listers.NodeLister
	namespaces listers.NamespaceLister
	pods       listers.PodLister
	policies   networkinglisters.NetworkPolicyLister
	informers  []cache.SharedIndexInformer
	factories  []informers.SharedInformerFactory
}

// NewCluster prepares to follow; nothing is asked before Start.
func NewCluster(client kubernetes.Interface, node string) *Cluster {
	all := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(strip))
	own := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(strip),
		informers.WithTweakListOptions(func(options *meta.ListOptions) {
			options.FieldSelector = fields.OneTermEqualSelector("metadata.name", node).String()
		}))
	return &Cluster{
		node:       node,
		nodes:      own.Core().V1().Nodes().Lister(),
		namespaces: all.Core().V1().Namespaces().Lister(),
		pods:       all.Core().V1().Pods().Lister(),
		policies:   all.Networking().V1().NetworkPolicies().Lister(),
		informers: []cache.SharedIndexInformer{
			own.Core().V1().Nodes().Informer(), all.Core().V1().Namespaces().Informer(),
			all.Core().V1().Pods().Informer(), all.Networking().V1().NetworkPolicies().Informer(),
		},
		factories: []informers.SharedInformerFactory{own, all},
	}
}

// Start follows the API server until ctx ends, and calls changed on every change. It returns when the first state is
// complete: rules from half a state would cut off pods.
func (c *Cluster) Start(ctx context.Context, changed func()) error {
	for _, informer := range c.informers {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { changed() },
			UpdateFunc: func(_, _ any) { changed() },
			DeleteFunc: func(any) { changed() },
		}); err != nil {
			return err
		}
	}
	for _, factory := range c.factories {
		factory.Start(ctx.Done())
	}
	for _, informer := range c.informers {
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return errors.New("stopped before the API server gave all pods, namespaces and policies")
		}
	}
	return nil
}

// Objects gives the state as last heard.
func (c *Cluster) Objects() (objects Objects, err error) {
	if objects.Node, err = c.nodes.Get(c.node); err != nil {
		return objects, fmt.Errorf("the node that this agent runs on (--node): %w", err)
	}
	var errs [3]error
	objects.Namespaces, errs[0] = c.namespaces.List(labels.Everything())
	objects.Pods, errs[1] = c.pods.List(labels.Everything())
	objects.Policies, errs[2] = c.policies.List(labels.Everything())
	return objects, errors.Join(errs[:]...)
}

// strip keeps of each object what rules follow from: the agent holds all pods of the cluster in memory.
func strip(object any) (any, error) {
	switch object := object.(type) {
	case *core.Pod:
		return &core.Pod{
			ObjectMeta: slim(object.ObjectMeta),
			Spec: core.PodSpec{
				NodeName: object.Spec.NodeName, HostNetwork: object.Spec.HostNetwork,
				Containers: slimContainers(object.Spec.Containers), InitContainers: slimContainers(object.Spec.InitContainers),
			},
			Status: core.PodStatus{Phase: object.Status.Phase, PodIPs: object.Status.PodIPs},
		}, nil
	case *core.Namespace:
		return &core.Namespace{ObjectMeta: slim(object.ObjectMeta)}, nil
	case *core.Node:
		return &core.Node{ObjectMeta: slim(object.ObjectMeta), Spec: core.NodeSpec{PodCIDRs: object.Spec.PodCIDRs}}, nil
	case *networking.NetworkPolicy:
		return &networking.NetworkPolicy{ObjectMeta: slim(object.ObjectMeta), Spec: object.Spec}, nil
	}
	return object, nil
}

func slim(full meta.ObjectMeta) meta.ObjectMeta {
	return meta.ObjectMeta{
		Namespace: full.Namespace, Name: full.Name, UID: full.UID, Labels: full.Labels, ResourceVersion: full.ResourceVersion,
	}
}

func slimContainers(full []core.Container) []core.Container {
	slimmed := make([]core.Container, 0, len(full))
	for _, container := range full {
		if len(container.Ports) > 0 {
			slimmed = append(slimmed, core.Container{Ports: container.Ports, RestartPolicy: container.RestartPolicy})
		}
	}
	return slimmed
}
