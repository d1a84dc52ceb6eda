package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const (
	helmVersion = "helm.sh/helm/v3/cmd/helm@v3.22.0"
	chart       = "helm/oktasync"
)

// folder holds programs that tests have built.
var folder string

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "oktasync-deploy"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

// built builds Helm. Go keeps what it compiled for the next time.
var built = sync.OnceValue(func() error {
	cmd := exec.Command("go", "install", helmVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+folder)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go install %s: %w: %s", helmVersion, err, said)
	}
	return nil
})

// helm runs Helm.
func helm(args ...string) (string, error) {
	if err := built(); err != nil {
		return "", err
	}
	var out, said bytes.Buffer
	cmd := exec.Command(filepath.Join(folder, "helm"), args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if err != nil {
		err = errors.New(said.String())
	}
	return out.String(), err
}

// rendered is what a cluster would be given.
type rendered struct {
	deployment      appsv1.Deployment
	service         corev1.Service
	account         corev1.ServiceAccount
	ingress         *networkingv1.Ingress
	policy          *networkingv1.NetworkPolicy
	budget          *policyv1.PodDisruptionBudget
	scaler          *autoscalingv2.HorizontalPodAutoscaler
	nightly         []batchv1.CronJob
	serviceMonitors int
}

// template renders the chart, and decodes each object into the type of the
// Kubernetes API: what the API does not know fails.
func template(t *testing.T, set ...string) rendered {
	t.Helper()
	args := []string{"template", "o", chart, "--namespace=oktasync", "--kube-version=1.30.0"}
	for _, value := range set {
		if strings.HasSuffix(value, ".yaml") {
			args = append(args, "--values="+value)
		} else {
			args = append(args, "--set="+value)
		}
	}
	text, err := helm(args...)
	if err != nil {
		t.Fatal(err)
	}
	var r rendered
	names := map[string]bool{}
	for part := range strings.SplitSeq(text, "\n---\n") {
		var head struct {
			Kind, APIVersion string
			Metadata         struct{ Name string }
		}
		if err := yaml.Unmarshal([]byte(part), &head); err != nil {
			t.Fatalf("%v: %s", err, part)
		}
		if head.Kind == "" {
			continue
		}
		name := head.Kind + "/" + head.Metadata.Name
		if names[name] || len(head.Metadata.Name) > 63 {
			t.Errorf("%s is there twice, or too long", name)
		}
		names[name] = true
		var into any
		switch head.APIVersion + " " + head.Kind {
		case "apps/v1 Deployment":
			into = &r.deployment
		case "v1 Service":
			into = &r.service
		case "v1 ServiceAccount":
			into = &r.account
		case "networking.k8s.io/v1 Ingress":
			r.ingress = new(networkingv1.Ingress)
			into = r.ingress
		case "networking.k8s.io/v1 NetworkPolicy":
			r.policy = new(networkingv1.NetworkPolicy)
			into = r.policy
		case "policy/v1 PodDisruptionBudget":
			r.budget = new(policyv1.PodDisruptionBudget)
			into = r.budget
		case "autoscaling/v2 HorizontalPodAutoscaler":
			r.scaler = new(autoscalingv2.HorizontalPodAutoscaler)
			into = r.scaler
		case "batch/v1 CronJob":
			r.nightly = append(r.nightly, batchv1.CronJob{})
			into = &r.nightly[len(r.nightly)-1]
		case "monitoring.coreos.com/v1 ServiceMonitor": // no type of Kubernetes
			r.serviceMonitors++
			continue
		default:
			t.Errorf("%s is of an unknown kind", name)
			continue
		}
		if err := yaml.UnmarshalStrict([]byte(part), into); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	return r
}

func TestHelmLintsTheChart(t *testing.T) {
	for _, values := range [][]string{nil, {"--values=" + chart + "/example.yaml"}} {
		if out, err := helm(append([]string{"lint", chart, "--strict", "--kube-version=1.30.0"}, values...)...); err != nil {
			t.Errorf("%v: %v%s", values, err, out)
		}
	}
}

func TestChartRunsPodsWithoutRights(t *testing.T) {
	r := template(t, chart+"/example.yaml", "tls.existingSecret=certificate", "nightly.url=https://oktasync.example.com:8080")
	pods := map[string]corev1.PodSpec{"service": r.deployment.Spec.Template.Spec}
	if len(r.nightly) != 1 {
		t.Fatalf("%d CronJobs", len(r.nightly))
	}
	pods["nightly"] = r.nightly[0].Spec.JobTemplate.Spec.Template.Spec
	for name, pod := range pods {
		s := pod.SecurityContext
		if s == nil || s.RunAsNonRoot == nil || !*s.RunAsNonRoot || s.RunAsUser == nil || *s.RunAsUser == 0 ||
			s.SeccompProfile == nil || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
			pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
			t.Errorf("%s: the pod has more rights than it needs: %v", name, s)
		}
		for _, c := range pod.Containers {
			s := c.SecurityContext
			if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil ||
				!*s.ReadOnlyRootFilesystem || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s: the container has more rights than it needs: %v", name, s)
			}
			if c.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s: no limit of memory", name)
			}
			for _, m := range c.VolumeMounts {
				if !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
					t.Errorf("%s: no volume %s", name, m.Name)
				}
			}
		}
	}
	if r.account.AutomountServiceAccountToken == nil || *r.account.AutomountServiceAccountToken {
		t.Error("the ServiceAccount's token is mounted")
	}
}

func TestChartSetsWhatOktasyncKnowsAndNoSecret(t *testing.T) {
	known, secret := settings(t, "serve", "trigger"), secrets(t)
	for name, set := range map[string][]string{
		"plain":      {"image.repository=r", "existingSecret=s"},
		"example":    {chart + "/example.yaml"},
		"everything": {chart + "/example.yaml", "tls.existingSecret=c", "nightly.url=https://o:1", "org.url=https://acme.okta.com", "jupiterone.account=a", "jupiterone.baseUrl=https://b", "sinks=jupiterone"},
	} {
		r := template(t, set...)
		specs := []corev1.PodSpec{r.deployment.Spec.Template.Spec}
		for _, job := range r.nightly {
			specs = append(specs, job.Spec.JobTemplate.Spec.Template.Spec)
		}
		for _, spec := range specs {
			env := map[string]string{}
			for _, v := range spec.Containers[0].Env {
				env[v.Name] = v.Value
			}
			checkEnvironment(t, name, known, secret, env)
		}
	}
}

func TestChartOpensTheHooksOnly(t *testing.T) {
	r := template(t, chart+"/example.yaml")
	var paths []string
	for _, rule := range r.ingress.Spec.Rules {
		for _, p := range rule.HTTP.Paths {
			paths = append(paths, string(*p.PathType)+" "+p.Path)
			if p.Backend.Service.Name != r.service.Name || !slices.ContainsFunc(r.service.Spec.Ports, func(port corev1.ServicePort) bool { return port.Name == p.Backend.Service.Port.Name }) {
				t.Errorf("leads to %v", p.Backend.Service)
			}
		}
	}
	if !slices.Equal(paths, []string{"Prefix /hooks/okta/"}) || r.ingress.Spec.DefaultBackend != nil {
		t.Errorf("open: %v", paths)
	}
	if r.service.Spec.Type != corev1.ServiceTypeClusterIP {
		t.Errorf("the Service is a %s", r.service.Spec.Type)
	}
	if len(r.policy.Spec.PolicyTypes) != 2 || len(r.policy.Spec.Ingress) != 2 || len(r.policy.Spec.Ingress[0].From) != 2 || len(r.policy.Spec.Ingress[1].From) != 1 {
		t.Errorf("the NetworkPolicy lets in %v", r.policy.Spec.Ingress)
	}
}

func TestChartGivesTimeToStopAndSelectsItsPods(t *testing.T) {
	r := template(t, chart+"/example.yaml")
	pod := r.deployment.Spec.Template
	grace := time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second
	wait := time.Duration(pod.Spec.Containers[0].Lifecycle.PreStop.Sleep.Seconds) * time.Second
	if grace < wait+2*drain(t) {
		t.Errorf("%v to stop: %v of waiting, %v for requests, and the engine's end", grace, wait, drain(t))
	}
	for what, selector := range map[string]map[string]string{
		"Deployment": r.deployment.Spec.Selector.MatchLabels, "Service": r.service.Spec.Selector,
		"NetworkPolicy": r.policy.Spec.PodSelector.MatchLabels, "PodDisruptionBudget": r.budget.Spec.Selector.MatchLabels,
	} {
		if len(selector) != 3 {
			t.Errorf("%s selects %v", what, selector)
		}
		for name, value := range selector {
			if pod.Labels[name] != value {
				t.Errorf("%s selects %s=%s, the pods have %v", what, name, value, pod.Labels)
			}
			if nightly := r.nightly[0].Spec.JobTemplate.Spec.Template.Labels; name == "app.kubernetes.io/component" && nightly[name] == value {
				t.Errorf("%s selects the CronJob's pods", what)
			}
		}
	}
	for _, probe := range []*corev1.Probe{pod.Spec.Containers[0].ReadinessProbe, pod.Spec.Containers[0].LivenessProbe, pod.Spec.Containers[0].StartupProbe} {
		if probe == nil || probe.HTTPGet == nil || !slices.Contains([]string{"/readyz", "/healthz"}, probe.HTTPGet.Path) {
			t.Errorf("probe %v", probe)
		}
	}
	weekly := template(t, chart+"/example.yaml", "nightly.events[1].name=verify", "nightly.events[1].secret=s", "nightly.events[1].key=k", "nightly.events[1].schedule=0 5 * * 0").nightly
	if len(weekly) != 2 || weekly[0].Spec.Schedule != "0 2 * * *" || weekly[1].Spec.Schedule != "0 5 * * 0" {
		t.Errorf("an event with a schedule of its own: %v", weekly)
	}
	if r.serviceMonitors != 1 {
		t.Errorf("%d ServiceMonitors", r.serviceMonitors)
	}
	if scaled := template(t, "image.repository=r", "existingSecret=s", "autoscaling.enabled=true"); scaled.deployment.Spec.Replicas != nil || scaled.scaler == nil || scaled.scaler.Spec.ScaleTargetRef.Name != scaled.deployment.Name || scaled.budget == nil {
		t.Errorf("with autoscaling: %v replicas, %v", scaled.deployment.Spec.Replicas, scaled.scaler)
	}
	if one := template(t, "image.repository=r", "existingSecret=s", "replicas=1", "sinks=sql:/data/oktasync.db", "dataClaim=data"); one.budget != nil ||
		one.deployment.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		t.Errorf("with one replica: %v, %v", one.budget, one.deployment.Spec.Strategy)
	}
}

func TestChartRefusesWhatCannotWork(t *testing.T) {
	for want, set := range map[string]string{
		"image.repository is required":          "existingSecret=s",
		"existingSecret is required":            "image.repository=r",
		"belongs to one process: set replicas":  "image.repository=r,existingSecret=s,sinks=sql:/data/oktasync.db",
		"belongs to one process":                "image.repository=r,existingSecret=s,sinks=sql:/data/oktasync.db,replicas=1,autoscaling.enabled=true",
		"names a file (jsonl:), which belongs":  "image.repository=r,existingSecret=s,sinks=jsonl:/data/changes.jsonl",
		"names a volume, which belongs":         "image.repository=r,existingSecret=s,sinks=jsonl:-,dataClaim=data",
		"maxReplicas is less":                   "image.repository=r,existingSecret=s,autoscaling.enabled=true,autoscaling.minReplicas=4,autoscaling.maxReplicas=3",
		"holds a password":                      "image.repository=r,existingSecret=s,sinks=postgres://u:p@h/d",
		"env.OKTASYNC_ADMIN_TOKEN: a secret is": "image.repository=r,existingSecret=s,env.OKTASYNC_ADMIN_TOKEN=t",
		"ingress.host is required":              "image.repository=r,existingSecret=s,ingress.enabled=true",
		"nightly.url is required":               "image.repository=r,existingSecret=s,tls.existingSecret=c,nightly.events[0].name=a,nightly.events[0].secret=e,nightly.events[0].key=k",
		"'adminToken' not allowed":              "image.repository=r,existingSecret=s,adminToken=t",
		"/replicas":                             "image.repository=r,existingSecret=s,replicas=two",
		"/org/url":                              "image.repository=r,existingSecret=s,org.url=http://acme.okta.com",
	} {
		if _, err := helm("template", "o", chart, "--kube-version=1.30.0", "--set="+set); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", set, err, want)
		}
	}
}

// A variable that was there twice would leave the probes and ports behind.
func TestChartTakesNoVariableThatItSetsItself(t *testing.T) {
	r := template(t, chart+"/example.yaml", "tls.existingSecret=c", "nightly.url=https://o:1", "org.url=https://acme.okta.com", "jupiterone.account=a", "jupiterone.baseUrl=https://b", "sinks=jupiterone")
	for _, v := range r.deployment.Spec.Template.Spec.Containers[0].Env {
		_, err := helm("template", "o", chart, "--kube-version=1.30.0", "--set=image.repository=r,existingSecret=s,env."+v.Name+"=x")
		if err == nil || !strings.Contains(err.Error(), "env."+v.Name+": ") {
			t.Errorf("env.%s: %v", v.Name, err)
		}
	}
	if r := template(t, "image.repository=r", "existingSecret=s", "sinks=jsonl:-", "env.OKTASYNC_LEASE=5s"); len(r.deployment.Spec.Template.Spec.Containers) != 1 {
		t.Errorf("what the chart does not set: %v", r.deployment)
	}
}

// The Secret is not seen: what it must not hold is told.
func TestChartTellsWhatItCannotSee(t *testing.T) {
	const note = "name neither a SQLite file"
	// Helm shows notes to a cluster only: in a copy of the chart they are an object.
	copied := filepath.Join(t.TempDir(), "oktasync")
	if err := os.CopyFS(copied, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	notes := `{{ define "notes" }}` + read(t, chart+"/templates/NOTES.txt") + `{{ end }}{kind: Notes, apiVersion: v1, text: {{ include "notes" . | quote }}}`
	if err := os.WriteFile(copied+"/templates/notes.yaml", []byte(notes), 0o600); err != nil {
		t.Fatal(err)
	}
	for set, want := range map[string]bool{"": true, ",replicas=1": false, ",sinks=jupiterone": false, ",replicas=1,autoscaling.enabled=true": true} {
		out, err := helm("template", "o", copied, "--show-only=templates/notes.yaml", "--kube-version=1.30.0", "--set=image.repository=r,existingSecret=s"+set)
		if err != nil || strings.Contains(out, note) != want {
			t.Errorf("%s: told %v, %v", set, !want, err)
		}
	}
}

// Every secret of the README can be given by the chart.
func TestChartTakesEachSecret(t *testing.T) {
	all := read(t, chart+"/templates/deployment.yaml") + read(t, chart+"/templates/nightly.yaml")
	for _, name := range secrets(t) {
		if !strings.Contains(all, name+"_FILE,") {
			t.Errorf("%s cannot be set", name)
		}
		if refused := strings.Contains(read(t, chart+"/templates/_helpers.tpl"), `"`+name+`"`); !refused {
			t.Errorf("%s is taken as a value", name)
		}
	}
}

// drain is how long a stop waits for requests under way.
func drain(t *testing.T) time.Duration {
	t.Helper()
	m := regexp.MustCompile(`drainTimeout = (\d+) \* time\.Second`).FindStringSubmatch(read(t, "../cmd/oktasync/serve.go"))
	if m == nil {
		t.Fatal("serve.go tells no drainTimeout")
	}
	d, err := time.ParseDuration(m[1] + "s")
	if err != nil {
		t.Fatal(err)
	}
	return d
}
