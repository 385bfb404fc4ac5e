package deploy

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// instruction is one of a Dockerfile, its continued lines joined.
type instruction struct{ name, rest string }

// dockerfile reads the instructions of each stage.
func dockerfile(t testing.TB) (stages [][]instruction) {
	t.Helper()
	text := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(example(t, "Dockerfile"), "")
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" {
			continue
		}
		if name == "FROM" {
			stages = append(stages, nil)
		}
		last := len(stages) - 1
		stages[last] = append(stages[last], instruction{name, strings.Join(strings.Fields(rest), " ")})
	}
	if len(stages) != 2 {
		t.Fatalf("%d stages, want one that builds and one that runs", len(stages))
	}
	return stages
}

// the returns what follows the only instruction of a name.
func the(t testing.TB, stage []instruction, name string) string {
	t.Helper()
	all := every(stage, name)
	if len(all) != 1 {
		t.Fatalf("%d times %s, want once", len(all), name)
	}
	return all[0]
}

func every(stage []instruction, name string) (all []string) {
	for _, i := range stage {
		if i.name == name {
			all = append(all, i.rest)
		}
	}
	return all
}

// buildContext copies what `docker build` hands to the builder: the repository without what the ignore file names.
func buildContext(t testing.TB) string {
	t.Helper()
	type rule struct {
		pattern *regexp.Regexp
		keep    bool
	}
	var rules []rule
	for line := range strings.Lines(example(t, "Dockerfile.dockerignore")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		pattern, keep := strings.CutPrefix(line, "!")
		pattern = regexp.QuoteMeta(pattern)
		for _, pair := range [][2]string{{`\*\*/`, `(?:.*/)?`}, {`\*\*`, `.+`}, {`\*`, `[^/]*`}} {
			pattern = strings.ReplaceAll(pattern, pair[0], pair[1])
		}
		rules = append(rules, rule{regexp.MustCompile("^" + pattern + "(?:/.*)?$"), keep})
	}
	to := t.TempDir()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel("..", path)
		if entry.IsDir() {
			if name == ".git" {
				return filepath.SkipDir
			}
			return nil
		}
		kept := true
		for _, r := range rules {
			if r.pattern.MatchString(filepath.ToSlash(name)) {
				kept = r.keep
			}
		}
		if !kept {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		write(t, filepath.Join(to, name), string(content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// TestImageContext looks at what reaches the builder: all that the build copies, and nothing beyond it.
func TestImageContext(t *testing.T) {
	context := buildContext(t)
	var copied []string
	for _, c := range every(dockerfile(t)[0], "COPY") {
		fields := strings.Fields(c)
		copied = append(copied, fields[:len(fields)-1]...)
	}
	for _, source := range copied {
		if _, err := os.Stat(filepath.Join(context, source)); err != nil {
			t.Errorf("COPY %s: %v", source, err)
		}
	}
	entries, err := os.ReadDir(context)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(copied, e.Name()) {
			t.Errorf("%s reaches the builder, and nothing copies it", e.Name())
		}
	}
	err = filepath.WalkDir(context, func(path string, entry fs.DirEntry, err error) error {
		if name := entry.Name(); strings.HasSuffix(name, "_test.go") || name == "testdata" || name == "secrets" {
			t.Errorf("%s reaches the builder", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

const (
	stampVersion = "v9.8.7"
	stampCommit  = "0123456789abcdef0123456789abcdef01234567"
	stampDate    = "2026-01-31"
)

// buildImage runs the image's build as the builder would, for this platform, and returns the binary.
func buildImage(t testing.TB) string {
	t.Helper()
	build := dockerfile(t)[0]
	context, root := buildContext(t), t.TempDir()
	workdir := filepath.Join(root, the(t, build, "WORKDIR"))
	for _, c := range every(build, "COPY") {
		fields := strings.Fields(c)
		for _, source := range fields[:len(fields)-1] {
			target := filepath.Join(workdir, fields[len(fields)-1])
			if strings.HasSuffix(fields[len(fields)-1], "/") {
				target = filepath.Join(target, source)
			}
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(context, source), target); err != nil {
				t.Fatal(err)
			}
		}
	}
	command := regexp.MustCompile(`--mount=\S+ `).ReplaceAllString(the(t, build, "RUN"), "")
	if !strings.Contains(command, " -o /out/zchatproxy ") {
		t.Fatalf("the build command writes to another place than /out/zchatproxy: %s", command)
	}
	cmd := exec.Command("sh", "-c", strings.Replace(command, " -o /out/", " -o "+root+"/out/", 1))
	cmd.Dir = workdir
	cmd.Env = append(os.Environ(), "TARGETOS="+runtime.GOOS, "TARGETARCH="+runtime.GOARCH)
	stamps := map[string]string{"VERSION": stampVersion, "COMMIT": stampCommit, "DATE": stampDate}
	for _, arg := range every(build, "ARG") {
		name, _, hasDefault := strings.Cut(arg, "=")
		if value, ok := stamps[name]; ok && hasDefault {
			cmd.Env = append(cmd.Env, name+"="+value)
			delete(stamps, name)
		}
	}
	if len(stamps) > 0 {
		t.Fatalf("these cannot be given to the build: %v", stamps)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return filepath.Join(root, "out/zchatproxy")
}

// stamped checks what a binary says of itself.
func stamped(t testing.TB, binary string) {
	t.Helper()
	out, err := exec.Command(binary, "version", "--format", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ Version, Commit, Date, Go, Platform string }
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatal(err)
	}
	if v.Version != stampVersion || v.Commit != stampCommit || v.Date != stampDate || !strings.HasPrefix(v.Go, "go1.") || v.Platform != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("%s says %s", binary, out)
	}
}

func TestImage(t *testing.T) {
	stages := dockerfile(t)
	build, image := stages[0], stages[1]

	want := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(example(t, "../go.mod"))[1]
	if from := the(t, build, "FROM"); from != "--platform=$BUILDPLATFORM golang:"+want+"-bookworm AS build" {
		t.Errorf("it is built FROM %s, and go.mod wants Go %s", from, want)
	}
	// Distroless has no versions, only Debian's.
	if from := the(t, image, "FROM"); !regexp.MustCompile(`^gcr\.io/distroless/static-debian\d+:nonroot(@sha256:[0-9a-f]{64})?$`).MatchString(from) {
		t.Errorf("it runs FROM %s", from)
	}

	var entrypoint []string
	if err := json.Unmarshal([]byte(the(t, image, "ENTRYPOINT")), &entrypoint); err != nil || len(entrypoint) != 1 {
		t.Fatalf("ENTRYPOINT %s, want one program without a shell", the(t, image, "ENTRYPOINT"))
	}
	if from := the(t, image, "COPY"); from != "--from=build /out/zchatproxy "+entrypoint[0] {
		t.Errorf("COPY %s, and the entry point is %s", from, entrypoint[0])
	}
	if cmd := the(t, image, "CMD"); cmd != `["serve"]` {
		t.Errorf("CMD %s", cmd)
	}
	if user := the(t, image, "USER"); !regexp.MustCompile(`^[1-9]\d{4}:[1-9]\d{4}$`).MatchString(user) {
		t.Errorf("USER %s, want the numbers of an unprivileged account", user)
	}
	if len(every(image, "RUN")) > 0 {
		t.Error("distroless has no shell to RUN anything")
	}
	c := checkJSON(t, []string{"ZCHAT_UPSTREAM=http://127.0.0.1:8000", "ZCHAT_SECRET=" + secretText})
	var ports []string
	for _, address := range []string{c.Process.Listen, c.Process.Admin} {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	if expose := the(t, image, "EXPOSE"); expose != strings.Join(ports, " ") {
		t.Errorf("EXPOSE %s, and the program listens on %s", expose, ports)
	}
	if signal := the(t, image, "STOPSIGNAL"); signal != "SIGTERM" {
		t.Errorf("STOPSIGNAL %s", signal)
	}
}

// TestImageBuilds runs the build, and looks whether what comes out runs where there is nothing else, and is what a
// release would be.
func TestImageBuilds(t *testing.T) {
	binary := buildImage(t)
	stamped(t, binary)
	if runtime.GOOS == "linux" {
		static(t, binary)
	}
	released := release(t, "..", runtime.GOOS+"/"+runtime.GOARCH)[0]
	a, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(released)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("the image's binary is not the release's, byte for byte")
	}
}

// static checks that a Linux binary needs no loader and no library.
func static(t testing.TB, binary string) {
	t.Helper()
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s needs a dynamic loader", binary)
		}
	}
}
