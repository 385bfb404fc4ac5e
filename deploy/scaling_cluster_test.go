package deploy

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// cluster is HAProxy before three zchatproxies, as the example has them, on one machine: each address 10.0.0.x of the
// example is 127.0.0.x here. HAProxy listens on 127.0.0.20, but what it sends comes from 127.0.0.1.
type cluster struct {
	t          *testing.T
	balancer   string // HAProxy's address
	haproxy    *running
	control    string // HAProxy's socket for commands
	replicas   [3]*replica
	secretFile string // which all replicas share
}

// replica is one zchatproxy.
type replica struct {
	name           string // in HAProxy's configuration
	address, admin string
	env            []string
	*running
}

// startCluster starts everything before a site, for a gateway that connects from an address.
func startCluster(t *testing.T, site *legacy, gateway string) *cluster {
	t.Helper()
	haproxy := need(t, "haproxy")
	dir := publicDir(t)
	c := &cluster{t: t, control: filepath.Join(dir, "admin.sock"), balancer: freeAddress(t, "127.0.0.20"), secretFile: write(t, filepath.Join(dir, "secret"), secretText)}
	visitors, admin := sharedPort(t), sharedPort(t)
	for i := range c.replicas {
		host := fmt.Sprintf("127.0.0.%d", 31+i)
		r := &replica{name: fmt.Sprintf("z%d", i+1), address: net.JoinHostPort(host, visitors), admin: net.JoinHostPort(host, admin)}
		r.env = environment(t, example(t, "haproxy/zchatproxy.env",
			"ZCHAT_LISTEN=:8080", "ZCHAT_LISTEN="+r.address,
			"ZCHAT_ADMIN_LISTEN=:9090", "ZCHAT_ADMIN_LISTEN="+r.admin,
			"10.0.0.20/32", "127.0.0.1/32",
			"10.0.0.40:8000", site.address(),
			"/etc/zchatproxy/secret", c.secretFile))
		c.replicas[i] = r
		c.run(r)
	}
	config := write(t, filepath.Join(dir, "haproxy.cfg"), example(t, "haproxy/haproxy.cfg",
		"10.0.0.20:8080", c.balancer,
		"src 10.0.0.10", "src "+gateway,
		"10.0.0.31:8080", c.replicas[0].address,
		"10.0.0.32:8080", c.replicas[1].address,
		"10.0.0.33:8080", c.replicas[2].address,
		"port 9090", "port "+admin,
		"stats socket /run/haproxy/admin.sock", "stats socket "+c.control,
		"maxconn 10000", "maxconn 1000")) // for machines that allow few open files
	c.haproxy = start(t, exec.Command(haproxy, "-db", "-f", config), c.balancer)
	return c
}

// sharedPort is a port that is free on all hosts of the replicas.
func sharedPort(t *testing.T) string {
	t.Helper()
	for range 100 {
		p := port(t, freeAddress(t, "127.0.0.31"))
		free := true
		for _, host := range []string{"127.0.0.32", "127.0.0.33"} {
			l, err := net.Listen("tcp", net.JoinHostPort(host, p))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return p
		}
	}
	t.Fatal("no port is free on three hosts")
	return ""
}

// run starts a replica, or starts it again.
func (c *cluster) run(r *replica) {
	c.t.Helper()
	cmd := exec.Command(program(c.t), "serve")
	cmd.Env = r.env
	r.running = start(c.t, cmd, r.address, r.admin)
}

// signal sends a signal to a replica.
func (c *cluster) signal(r *replica, s syscall.Signal) {
	c.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// ended waits for the end of a replica and returns its exit code, -1 for a death.
func (c *cluster) ended(r *replica) int {
	c.t.Helper()
	select {
	case <-r.gone:
	case <-time.After(patience):
		c.t.Fatalf("%s does not end: %s", r.name, r.said())
	}
	return r.cmd.ProcessState.ExitCode()
}

// changes is how often HAProxy has found a replica to be up or down.
func (c *cluster) changes(r *replica, to string) int {
	return strings.Count(c.haproxy.said(), "Server zchatproxy/"+r.name+" is "+to)
}

// until does something to a replica and waits until HAProxy has noticed.
func (c *cluster) until(r *replica, to string, do func()) {
	c.t.Helper()
	before := c.changes(r, to)
	do()
	eventually(c.t, "HAProxy finds that "+r.name+" is "+to, func() bool { return c.changes(r, to) > before })
}

// command gives HAProxy a command and returns its answer.
func (c *cluster) command(text string) string {
	c.t.Helper()
	conn, err := net.Dial("unix", c.control)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text+"\n"); err != nil {
		c.t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(answer)
}

// busy is how many requests are at a replica.
func (c *cluster) busy(r *replica) string {
	c.t.Helper()
	lines := strings.Split(c.command("show stat"), "\n")
	at := slices.Index(strings.Split(lines[0], ","), "scur")
	for _, line := range lines {
		if fields := strings.Split(line, ","); len(fields) > at && fields[0] == "zchatproxy" && fields[1] == r.name {
			return fields[at]
		}
	}
	c.t.Fatalf("HAProxy knows no %s:\n%s", r.name, strings.Join(lines, "\n"))
	return ""
}
