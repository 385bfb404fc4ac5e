package kubernetes

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// manifests are the objects of one overlay, each under its kind and name.
type manifests struct {
	namespace  *core.Namespace
	deployment *apps.Deployment
	service    *core.Service
	account    *core.ServiceAccount
	scaler     *autoscaling.HorizontalPodAutoscaler
	budget     *policy.PodDisruptionBudget
	network    *networking.NetworkPolicy
	configs    map[string]*core.ConfigMap
	monitor    *monitoring.PodMonitor // nil without the component
}

// decoder knows the kinds that are used here, and takes no field that they do not have.
func decoder(t *testing.T) runtime.Decoder {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		apps.AddToScheme, autoscaling.AddToScheme, core.AddToScheme, networking.AddToScheme, policy.AddToScheme, monitoring.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
}

// sources is this folder in memory, where a test can add to it.
func sources(t *testing.T) filesys.FileSystem {
	t.Helper()
	disk, memory := filesys.MakeFsOnDisk(), filesys.MakeFsInMemory()
	for _, pattern := range []string{"base/*", "overlays/*/*", "components/*/*"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range files {
			content, err := disk.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := memory.WriteFile(path.Join("/", filepath.ToSlash(name)), content); err != nil {
				t.Fatal(err)
			}
		}
	}
	return memory
}

// build makes an overlay and decodes what comes out.
func build(t *testing.T, fs filesys.FileSystem, overlay string) manifests {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, overlay)
	if err != nil {
		t.Fatal(err)
	}
	m := manifests{configs: map[string]*core.ConfigMap{}}
	decode := decoder(t)
	seen := map[string]bool{}
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := decode.Decode(text, nil, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		id := fmt.Sprintf("%T %s", object, r.GetName())
		if seen[id] {
			t.Errorf("%s is there twice", id)
		}
		seen[id] = true
		namespace := r.GetNamespace()
		switch o := object.(type) {
		case *core.Namespace:
			m.namespace = o
			namespace = o.Name
		case *apps.Deployment:
			m.deployment = o
		case *core.Service:
			m.service = o
		case *core.ServiceAccount:
			m.account = o
		case *autoscaling.HorizontalPodAutoscaler:
			m.scaler = o
		case *policy.PodDisruptionBudget:
			m.budget = o
		case *networking.NetworkPolicy:
			m.network = o
		case *core.ConfigMap:
			m.configs[o.Name] = o
		case *monitoring.PodMonitor:
			m.monitor = o
		default:
			t.Errorf("nobody here knows about %s", id)
		}
		if m.namespace != nil && namespace != m.namespace.Name {
			t.Errorf("%s is in the namespace %q, want %q", id, namespace, m.namespace.Name)
		}
	}
	if m.namespace == nil || m.deployment == nil || m.service == nil || m.account == nil || m.scaler == nil || m.budget == nil || m.network == nil || len(m.configs) != 2 {
		t.Fatalf("something is missing; there are %s", strings.Join(slices.Sorted(maps.Keys(seen)), ", "))
	}
	return m
}

// pod is the template of the pods.
func (m manifests) pod() *core.PodSpec { return &m.deployment.Spec.Template.Spec }

// container is the pods' only container.
func (m manifests) container(t *testing.T) *core.Container {
	t.Helper()
	if n := len(m.pod().Containers); n != 1 || len(m.pod().InitContainers) > 0 {
		t.Fatalf("%d containers and %d before them, want one", n, len(m.pod().InitContainers))
	}
	return &m.pod().Containers[0]
}

// port is the number of a container's port by its name.
func (m manifests) port(t *testing.T, name string) int32 {
	t.Helper()
	for _, p := range m.container(t).Ports {
		if p.Name == name {
			return p.ContainerPort
		}
	}
	t.Fatalf("the container has no port called %q", name)
	return 0
}

var overlays = []string{"staging", "production"}

// each runs a test for every overlay.
func each(t *testing.T, run func(t *testing.T, overlay string, m manifests)) {
	for _, overlay := range overlays {
		t.Run(overlay, func(t *testing.T) { run(t, overlay, build(t, sources(t), "/overlays/"+overlay)) })
	}
}
