package agent

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

// FromFiles reads the objects of the YAML files in a directory, in place of an API server's: to see what rules a set
// of policies gives, and for tests.
func FromFiles(directory, node string) (objects Objects, err error) {
	paths, err := filepath.Glob(filepath.Join(directory, "*.yaml"))
	if err != nil {
		return objects, err
	}
	if len(paths) == 0 {
		return objects, fmt.Errorf("no *.yaml in %s", directory)
	}
	slices.Sort(paths)
	for _, path := range paths {
		if err := objects.read(path, node); err != nil {
			return objects, fmt.Errorf("%s: %w", path, err)
		}
	}
	return objects, nil
}

func (o *Objects) read(path, node string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
		if err != nil {
			return err
		}
		if err := o.add(object, node); err != nil {
			return err
		}
	}
}

func (o *Objects) add(object runtime.Object, node string) error {
	switch object := object.(type) {
	case *core.Node:
		if object.Name == node {
			o.Node = object
		}
	case *core.Namespace:
		o.Namespaces = append(o.Namespaces, object)
	case *core.Pod:
		o.Pods = append(o.Pods, object)
	case *networking.NetworkPolicy:
		o.Policies = append(o.Policies, object)
	default:
		return fmt.Errorf("%T is not a Node, Namespace, Pod or NetworkPolicy of v1", object)
	}
	return nil
}
