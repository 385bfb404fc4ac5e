package deploy

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"debug/macho"
	"debug/pe"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// release builds some targets from the sources in a folder, checks their checksums, and returns the binaries' paths.
func release(t testing.TB, source string, targets ...string) (binaries []string) {
	t.Helper()
	script, err := filepath.Abs(filepath.Join(source, "deploy/release"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(script, append([]string{stampVersion}, targets...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ZCHATPROXY_COMMIT="+stampCommit, "ZCHATPROXY_DATE="+stampDate)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("release: %v\n%s", err, out)
	}
	sums, err := os.ReadFile(filepath.Join(dir, "dist/SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(sums)) {
		sum, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			t.Fatalf("%q is no line that sha256sum -c reads", line)
		}
		path := filepath.Join(dir, "dist", name)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if have := sha256.Sum256(content); hex.EncodeToString(have[:]) != sum {
			t.Errorf("%s has another checksum than is written", name)
		}
		binaries = append(binaries, path)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "dist"))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(binaries)+1 {
		t.Errorf("%d files for %d binaries and their checksums", len(entries), len(binaries))
	}
	return binaries
}

func TestRelease(t *testing.T) {
	target := runtime.GOOS + "/" + runtime.GOARCH
	first := release(t, "..", target)
	if len(first) != 1 || !strings.HasPrefix(filepath.Base(first[0]), "zchatproxy_"+stampVersion+"_"+runtime.GOOS+"_"+runtime.GOARCH) {
		t.Fatalf("released %v", first)
	}
	stamped(t, first[0])

	// The same sources in another folder, under other settings: the same bytes.
	copied := buildContext(t)
	script := write(t, filepath.Join(copied, "deploy/release"), example(t, "release"))
	if err := os.Chmod(script, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOFLAGS", "-tags=unusual")
	t.Setenv("GOAMD64", "v3")
	t.Setenv("CGO_ENABLED", "1")
	second := release(t, copied, target)
	a, err := os.ReadFile(first[0])
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(second[0])
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("another folder and other settings give other bytes")
	}
	here, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(a, []byte(here+"/")) {
		t.Errorf("the folder %s of this machine is in the binary", here)
	}
}

// TestReleaseOfEveryPlatform builds them all, and reads each as its platform's loader does.
func TestReleaseOfEveryPlatform(t *testing.T) {
	if !all() {
		t.Skip("set ZCHATPROXY_TEST_ALL=1 to build for six platforms")
	}
	binaries := release(t, "..")
	machines := map[string]bool{}
	for _, path := range binaries {
		name := filepath.Base(path)
		switch {
		case strings.Contains(name, "_linux_"):
			static(t, path)
			f, err := elf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			machines["linux "+f.Machine.String()] = true
			f.Close()
		case strings.Contains(name, "_darwin_"):
			f, err := macho.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			machines["darwin "+f.Cpu.String()] = true
			f.Close()
		case strings.Contains(name, "_windows_") && strings.HasSuffix(name, ".exe"):
			f, err := pe.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			switch f.Machine {
			case pe.IMAGE_FILE_MACHINE_AMD64:
				machines["windows amd64"] = true
			case pe.IMAGE_FILE_MACHINE_ARM64:
				machines["windows arm64"] = true
			}
			f.Close()
		default:
			t.Errorf("nobody knows the platform of %s", name)
		}
	}
	for _, want := range []string{"linux EM_X86_64", "linux EM_AARCH64", "darwin CpuAmd64", "darwin CpuArm64", "windows amd64", "windows arm64"} {
		if !machines[want] {
			t.Errorf("nothing is for %s", want)
		}
	}
	if len(binaries) != 6 {
		t.Errorf("%d binaries, want 6", len(binaries))
	}
}

func TestReleaseRefuses(t *testing.T) {
	script, err := filepath.Abs("release")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no version", nil, 2, "usage"},
		{"a version without v", []string{"1.2.3"}, 2, "write a version such as v1.2.3"},
		{"a version with a blank", []string{"v1.2.3 x"}, 2, "does not belong"},
		{"a platform that Go does not know", []string{stampVersion, "plan10/arm"}, 2, "unsupported GOOS/GOARCH"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(script, c.args...)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "ZCHATPROXY_COMMIT="+stampCommit, "ZCHATPROXY_DATE="+stampDate)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(string(out), c.says) {
				t.Errorf("%v, want code %d and %q:\n%s", err, c.code, c.says, out)
			}
		})
	}

	git := need(t, "git")
	copied := buildContext(t)
	local := write(t, filepath.Join(copied, "deploy/release"), example(t, "release"))
	if err := os.Chmod(local, 0o755); err != nil {
		t.Fatal(err)
	}
	run := func(wantOK bool, says string) {
		t.Helper()
		cmd := exec.Command(local, stampVersion, runtime.GOOS+"/"+runtime.GOARCH)
		cmd.Dir = t.TempDir()
		cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(copied))
		out, err := cmd.CombinedOutput()
		if (err == nil) != wantOK || !strings.Contains(string(out), says) {
			t.Errorf("%v, want %q:\n%s", err, says, out)
		}
	}
	run(false, "set ZCHATPROXY_COMMIT")
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "all"}} {
		if out, err := exec.Command(git, append([]string{"-C", copied}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	run(true, "building zchatproxy_"+stampVersion)
	write(t, filepath.Join(copied, "cmd/zchatproxy/more.go"), "package main\n")
	run(false, "not committed")
}
