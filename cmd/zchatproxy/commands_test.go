package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// foreign finds the command lines of other programs than ours in a piece of code.
var foreign = regexp.MustCompile(`^(?:\$ )?(\(?(?:go|deploy/release|cd|docker|kubectl|promtool|curl|wget|cp|cat|mv|rm|mkdir|install|chmod|chown|sudo|sh|openssl|systemctl|journalctl|kill|helm|git|make|apt-get|npm|nginx|apachectl|caddy|traefik)\s.*)$`)

// rotation has the text of the commands that write a new secret, in their order.
var rotation = []string{
	"cp -a /run/secrets/zendesk-chat /run/secrets/zendesk-chat.new",
	"cat > /run/secrets/zendesk-chat.new",
	"mv /run/secrets/zendesk-chat.new /run/secrets/zendesk-chat",
}

type foreignCommand struct {
	begins string
	judge  func(t *testing.T, line string, args []string)
}

// foreignCommands judge each of those commands: whether it still fits. The first that knows a line by its beginning judges it.
var foreignCommands = []foreignCommand{
	{"go run ./cmd/zchatproxy ", func(*testing.T, string, []string) {}}, // executed: TestDocumentsShowCommandsThatWork
	{"go test ./...", func(*testing.T, string, []string) {}},            // executed right now
	{"go test -run '^$' -bench ", func(t *testing.T, _ string, args []string) { // takes minutes: is there what it names?
		for _, folder := range args[5:] {
			if !strings.HasPrefix(folder, "./") {
				continue // a flag
			}
			files, err := filepath.Glob(filepath.Join(root, strings.TrimSuffix(folder, "/..."), "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(files, func(file string) bool {
				text, err := os.ReadFile(file)
				return err == nil && strings.Contains(string(text), "\nfunc Benchmark"+strings.Trim(args[5], "."))
			}) {
				t.Errorf("%s has no such benchmark", folder)
			}
		}
	}},
	{"go install ", func(t *testing.T, _ string, args []string) {
		bin := t.TempDir()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "GOBIN="+bin)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if out, err := exec.Command(filepath.Join(bin, "zchatproxy"), "version").CombinedOutput(); err != nil {
			t.Errorf("what it installs: %v\n%s", err, out)
		}
	}},
	{"deploy/release ", func(t *testing.T, _ string, args []string) { // executed in package deploy
		if !strings.Contains(contents(t, "deploy/release"), "#   deploy/release VERSION [OS/ARCH]...\n") || !strings.HasPrefix(args[1], "v") {
			t.Error("its arguments are others")
		}
		platforms, err := exec.Command("go", "tool", "dist", "list").Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range args[2:] {
			if !slices.Contains(strings.Fields(string(platforms)), p) {
				t.Errorf("Go builds nothing for %s", p)
			}
		}
	}},
	{"(cd dist && sha256sum ", func(t *testing.T, line string, _ []string) {
		if !strings.Contains(contents(t, "deploy/release"), strings.Trim(line, "()")) {
			t.Error("deploy/release verifies in another way")
		}
	}},
	{"docker build ", func(t *testing.T, line string, args []string) {
		dockerfile := contents(t, args[slices.Index(args, "-f")+1])
		for _, m := range regexp.MustCompile(`--build-arg (\w+)=`).FindAllStringSubmatch(line, -1) {
			if !regexp.MustCompile(`(?m)^ARG ` + m[1] + `\b`).MatchString(dockerfile) {
				t.Errorf("the Dockerfile takes no %s", m[1])
			}
		}
	}},
	{"docker compose ", func(t *testing.T, line string, args []string) {
		if !strings.Contains(contents(t, args[slices.Index(args, "-f")+1]), "#   "+line+"\n") {
			t.Error("the file itself says to start it in another way")
		}
	}},
	{"kubectl apply -k ", func(t *testing.T, _ string, args []string) { contents(t, args[3]+"/kustomization.yaml") }},
	{"kubectl create namespace ", func(t *testing.T, _ string, args []string) {
		if overlay := contents(t, "deploy/kubernetes/overlays/production/kustomization.yaml"); !strings.Contains(overlay, "\nnamespace: "+args[3]+"\n") {
			t.Errorf("the overlay for production has another namespace than %s", args[3])
		}
	}},
	{"kubectl -n zchat create secret generic ", func(t *testing.T, line string, args []string) {
		deployment := contents(t, "deploy/kubernetes/base/deployment.yaml")
		key := regexp.MustCompile(` --from-file=(\w+)=`).FindStringSubmatch(line)
		if !strings.Contains(deployment, "secretName: "+args[6]+"\n") || key == nil || !strings.Contains(deployment, "key: "+key[1]+",") {
			t.Errorf("the Deployment mounts another secret, or another key of it, than %s", line)
		}
	}},
	{"promtool test rules ", func(t *testing.T, _ string, args []string) { contents(t, args[3]) }}, // executed in package deploy
	{"curl -s http://127.0.0.1:8080/", func(t *testing.T, line string, args []string) {
		p := start(t, "ZCHAT_UPSTREAM="+startSite(t, nil).URL, "ZCHAT_SECRET="+goodSecret)
		status, body := get(t, strings.Replace(args[2], "http://127.0.0.1:8080", p.url, 1))
		if status != 401 || !strings.Contains(body, `"detail":`) {
			t.Errorf("it answers %d: %s", status, body)
		}
	}},
	{rotation[0], func(*testing.T, string, []string) {}}, // these three are executed: TestRotationAsDocumented
	{rotation[1], func(*testing.T, string, []string) {}},
	{rotation[2], func(*testing.T, string, []string) {}},
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocumentsShowOtherCommandsThatFit holds what documents say to other programs against the files that it is about.
func TestDocumentsShowOtherCommandsThatFit(t *testing.T) {
	seen := make([]bool, len(foreignCommands))
	for _, d := range documents(t) {
		for _, code := range slices.Concat(d.blocks, d.spans) {
			for line := range strings.Lines(code) {
				m := foreign.FindStringSubmatch(strings.TrimSpace(line))
				if m == nil {
					continue
				}
				line, _, _ := strings.Cut(m[1], "  #")
				line = strings.TrimSpace(line)
				i := slices.IndexFunc(foreignCommands, func(j foreignCommand) bool { return strings.HasPrefix(line, j.begins) })
				if i < 0 {
					t.Errorf("%s shows %q, which nothing here executes or compares", d.path, line)
					continue
				}
				seen[i] = true
				t.Run(line, func(t *testing.T) { foreignCommands[i].judge(t, line, words(line)) })
			}
		}
	}
	for i, j := range foreignCommands {
		if !seen[i] {
			t.Errorf("no document shows %q any more, or this test does not find it", j.begins)
		}
	}
}

// TestRotationAsDocumented writes a new secret as the runbook says.
func TestRotationAsDocumented(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	runbook := readDocument("", contents(t, "deploy/rotate-secret.md"))
	const shown = "/run/secrets/zendesk-chat"
	file := writeFile(t, "zendesk-chat", goodSecret+"\n")
	p := start(t, "ZCHAT_UPSTREAM="+startSite(t, nil).URL, "ZCHAT_SECRET_FILE="+file)
	i := slices.IndexFunc(runbook.blocks, func(b string) bool { return strings.Contains(b, rotation[0]) })
	if i < 0 {
		t.Fatal("the runbook shows no commands that write the file")
	}
	script := strings.ReplaceAll(runbook.blocks[i], shown, file)
	cmd := exec.Command(shell, "-e", "-c", script)
	cmd.Stdin = strings.NewReader("the new secret, which is 41 bytes long...\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if line := p.waitLog("secret read"); line["bytes"] != 41.0 {
		t.Errorf("the proxy has read %v", line)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is left as %v, %v", info.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}
