package kubernetes

import (
	"strconv"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// selects reports whether a selector takes the labels. One that is not there takes nothing.
func selects(t *testing.T, s *meta.LabelSelector, set map[string]string) bool {
	t.Helper()
	selector, err := meta.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector.Matches(labels.Set(set))
}

func TestObjectsFitTogether(t *testing.T) {
	each(t, func(t *testing.T, overlay string, m manifests) {
		d, pod := m.deployment, m.pod()
		own := d.Spec.Template.Labels
		if len(own) == 0 {
			t.Fatal("the pods have no labels")
		}
		stranger := map[string]string{"app.kubernetes.io/name": "another"}
		for name, s := range map[string]*meta.LabelSelector{
			"Deployment": d.Spec.Selector, "PodDisruptionBudget": m.budget.Spec.Selector, "NetworkPolicy": &m.network.Spec.PodSelector,
			"Service": {MatchLabels: m.service.Spec.Selector}, "topology": pod.TopologySpreadConstraints[0].LabelSelector,
		} {
			if !selects(t, s, own) || selects(t, s, stranger) {
				t.Errorf("the selector of the %s takes others than the pods: %v", name, s)
			}
		}
		if ref := m.scaler.Spec.ScaleTargetRef; ref.Kind != "Deployment" || ref.Name != d.Name || ref.APIVersion != "apps/v1" {
			t.Errorf("the autoscaler is for %v", ref)
		}
		if d.Spec.Replicas != nil {
			t.Error("the Deployment sets a number of pods, against the autoscaler")
		}
		if low, high := *m.scaler.Spec.MinReplicas, m.scaler.Spec.MaxReplicas; low >= high || overlay == "production" && low < 2 {
			t.Errorf("between %d and %d pods", low, high)
		}
		if pod.ServiceAccountName != m.account.Name {
			t.Errorf("the pods have the account %q, and there is %q", pod.ServiceAccountName, m.account.Name)
		}
		// A drain of nodes must get somewhere, whatever the number of pods.
		if got := m.budget.Spec.MaxUnavailable; got == nil || got.IntValue() < 1 || m.budget.Spec.MinAvailable != nil {
			t.Errorf("the budget lets %v pods go", got)
		}
		for _, p := range m.service.Spec.Ports {
			if p.TargetPort.StrVal != "http" {
				t.Errorf("the Service leads to the port %s", p.TargetPort.String())
			}
		}
		m.port(t, "http")
		if note := d.Spec.Template.Annotations; note["prometheus.io/scrape"] != "true" || note["prometheus.io/port"] != strconv.Itoa(int(m.port(t, "admin"))) {
			t.Errorf("Prometheus is told %v, and the metrics are on port %d", note, m.port(t, "admin"))
		}
		_, tag, _ := strings.Cut(m.container(t).Image[strings.LastIndex(m.container(t).Image, "/")+1:], ":")
		fixed := strings.HasPrefix(tag, "v") || strings.Contains(m.container(t).Image, "@sha256:")
		if !fixed && (overlay == "production" || m.container(t).ImagePullPolicy != core.PullAlways) {
			t.Errorf("the image is %s, whose tag may move, pulled %q", m.container(t).Image, m.container(t).ImagePullPolicy)
		}
	})
}

// TestPodsAreRestricted has the API server's own admission judge the pods, and wants what it does not ask for.
func TestPodsAreRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, _ string, m manifests) {
		level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
		for _, result := range evaluator.EvaluatePod(level, &m.deployment.Spec.Template.ObjectMeta, m.pod()) {
			if !result.Allowed {
				t.Errorf("%s: %s", result.ForbiddenReason, result.ForbiddenDetail)
			}
		}
		if m.namespace.Labels[api.EnforceLevelLabel] != "restricted" {
			t.Errorf("the namespace enforces %q", m.namespace.Labels[api.EnforceLevelLabel])
		}
		c, pod := m.container(t), m.pod()
		if readOnly := c.SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
			t.Error("the root file system can be written")
		}
		for name, mount := range map[string]*bool{"pod": pod.AutomountServiceAccountToken, "account": m.account.AutomountServiceAccountToken} {
			if mount == nil || *mount {
				t.Errorf("the %s mounts a token of the cluster's API", name)
			}
		}
		if pod.EnableServiceLinks == nil || *pod.EnableServiceLinks {
			t.Error("a Service called zchat would add variables that the program refuses")
		}
		memory := c.Resources.Limits.Memory()
		if memory.IsZero() || c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().Cmp(*memory) > 0 {
			t.Errorf("resources %v", c.Resources)
		}
		for _, v := range c.VolumeMounts {
			if !v.ReadOnly || v.SubPath != "" {
				t.Errorf("%s is to be read only, and no subPath, which never changes", v.MountPath)
			}
		}
	})
}

// packet is a connection that somebody tries.
type packet struct {
	namespace, pod string // names, as labels have them
	port           string
	number         int32
}

func (p packet) matches(t *testing.T, peers []networking.NetworkPolicyPeer, ports []networking.NetworkPolicyPort, own string) bool {
	t.Helper()
	fitsPort := len(ports) == 0
	for _, port := range ports {
		fitsPort = fitsPort || port.Port.StrVal == p.port && p.port != "" || port.Port.IntVal == p.number && p.number != 0
	}
	if !fitsPort {
		return false
	}
	for _, peer := range peers {
		if peer.IPBlock != nil {
			t.Fatal("this test knows no address ranges")
		}
		namespace := p.namespace == own
		if peer.NamespaceSelector != nil {
			namespace = selects(t, peer.NamespaceSelector, map[string]string{core.LabelMetadataName: p.namespace})
		}
		pod := peer.PodSelector == nil || selects(t, peer.PodSelector, map[string]string{"app.kubernetes.io/name": p.pod, "k8s-app": p.pod})
		if namespace && pod {
			return true
		}
	}
	return len(peers) == 0
}

// TestWhoGetsThrough tries connections against the NetworkPolicy: whoever reaches the proxy's port can be anybody.
func TestWhoGetsThrough(t *testing.T) {
	each(t, func(t *testing.T, _ string, m manifests) {
		own := m.namespace.Name
		if len(m.network.Spec.PolicyTypes) != 2 {
			t.Fatalf("the policy is for %v", m.network.Spec.PolicyTypes)
		}
		for _, c := range []struct {
			packet
			in   bool
			want bool
		}{
			{packet{"gateway", "oauth2-proxy", "http", 8080}, true, true},
			{packet{"gateway", "oauth2-proxy", "admin", 9090}, true, false},
			{packet{"gateway", "another", "http", 8080}, true, false},
			{packet{"elsewhere", "oauth2-proxy", "http", 8080}, true, false},
			{packet{own, "legacy-site", "http", 8080}, true, false},
			{packet{own, "zchatproxy", "http", 8080}, true, false},
			{packet{"monitoring", "prometheus", "admin", 9090}, true, true},
			{packet{"monitoring", "prometheus", "http", 8080}, true, false},
			{packet{own, "legacy-site", "admin", 9090}, true, false},
			{packet{own, "legacy-site", "", 80}, false, true},
			{packet{"elsewhere", "legacy-site", "", 80}, false, false},
			{packet{own, "another", "", 80}, false, false},
			{packet{"kube-system", "kube-dns", "", 53}, false, true},
			{packet{"kube-system", "kube-dns", "", 443}, false, false},
			{packet{"kube-system", "another", "", 53}, false, false},
		} {
			got := false
			for _, rule := range m.network.Spec.Ingress {
				got = got || c.in && c.matches(t, rule.From, rule.Ports, own)
			}
			for _, rule := range m.network.Spec.Egress {
				got = got || !c.in && c.matches(t, rule.To, rule.Ports, own)
			}
			if got != c.want {
				t.Errorf("%+v: let through is %v, want %v (inwards: %v)", c.packet, got, c.want, c.in)
			}
		}
	})
}

// TestTerminationOutlastsTheDrain compares what the kubelet waits with what the program may take.
func TestTerminationOutlastsTheDrain(t *testing.T) {
	each(t, func(t *testing.T, _ string, m manifests) {
		hook := m.container(t).Lifecycle
		if hook == nil || hook.PreStop == nil || hook.PreStop.Sleep == nil || hook.PreStop.Sleep.Seconds < 2 {
			t.Fatal("new connections would be refused while the cluster still sends them")
		}
		drain, err := time.ParseDuration(m.check(t).Process.ShutdownTimeout)
		if err != nil {
			t.Fatal(err)
		}
		grace := time.Duration(*m.pod().TerminationGracePeriodSeconds) * time.Second
		if need := time.Duration(hook.PreStop.Sleep.Seconds)*time.Second + drain; grace < need+2*time.Second {
			t.Errorf("%v until the kill, and leaving takes up to %v", grace, need)
		}
	})
}

// TestPodMonitor adds the component to an overlay, as its comment says.
func TestPodMonitor(t *testing.T) {
	fs := sources(t)
	const file = "/overlays/production/kustomization.yaml"
	text, err := fs.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.WriteFile(file, append(text, "\ncomponents: [../../components/podmonitor]\n"...)); err != nil {
		t.Fatal(err)
	}
	m := build(t, fs, "/overlays/production")
	if m.monitor == nil {
		t.Fatal("there is no PodMonitor")
	}
	if !selects(t, &m.monitor.Spec.Selector, m.deployment.Spec.Template.Labels) {
		t.Errorf("it looks for %v", m.monitor.Spec.Selector)
	}
	if job := m.deployment.Spec.Template.Labels[m.monitor.Spec.JobLabel]; job != "zchatproxy" {
		t.Errorf("the job is %q, and the alerts look for zchatproxy", job)
	}
	for _, e := range m.monitor.Spec.PodMetricsEndpoints {
		m.port(t, *e.Port)
	}
}
