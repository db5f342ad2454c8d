package embedstore_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ferry"
	"ferry/service/embedstore"
)

// TestMain makes this binary the store's child, or a parent to be killed, when
// it is called as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case embedstore.Subcommand:
			if err := embedstore.ServeMain(context.Background(), os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case "parent":
			c, err := embedstore.Start(context.Background(), os.Args[2])
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			fmt.Println(c.Endpoint)
			select {}
		}
	}
	os.Exit(m.Run())
}

func start(t *testing.T, dir string) *embedstore.Child {
	t.Helper()
	c, err := embedstore.Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

// answers reports whether a store serves at the endpoint.
func answers(endpoint string) bool {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	resp, err := client.Get(endpoint + "/health")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestIdentity: keys and endpoint stay the same over restarts, and nobody else
// may read the keys.
func TestIdentity(t *testing.T) {
	dir := t.TempDir()
	first := start(t, dir)
	if !answers(first.Endpoint) {
		t.Error("Start returned before the store was ready")
	}
	if resp, err := http.Get(first.Endpoint + "/" + embedstore.Bucket + "/"); err != nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a stranger got %v, %v; want 403", resp, err)
	} else {
		resp.Body.Close()
	}
	first.Stop()
	if answers(first.Endpoint) {
		t.Error("the store serves after Stop")
	}
	second := start(t, dir)
	if second.Endpoint != first.Endpoint || second.AccessKey != first.AccessKey || second.SecretKey != first.SecretKey {
		t.Errorf("the second start is %s with key %s, the first was %s with %s", second.Endpoint, second.AccessKey, first.Endpoint, first.AccessKey)
	}
	path := filepath.Join(dir, ".ferry-store", "credentials")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the credentials are %v, %v; want mode 0600", info.Mode(), err)
	}
	text, err := os.ReadFile(path)
	if want := "AWS_ACCESS_KEY_ID=" + first.AccessKey + "\nAWS_SECRET_ACCESS_KEY=" + first.SecretKey + "\n"; err != nil || string(text) != want {
		t.Errorf("the credentials are not an environment file with two lines: %v", err)
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", second.PID()))
	if err != nil || strings.Contains(string(args), first.SecretKey) || strings.Contains(string(args), first.AccessKey) {
		t.Errorf("the keys are on the child's command line: %q, %v", args, err)
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", second.PID()))
	if err != nil || strings.Contains(string(env), first.SecretKey) {
		t.Errorf("the secret is in the child's environment, %v", err)
	}
}

// TestRestart: a store that dies is started again at the same address.
func TestRestart(t *testing.T) {
	c := start(t, t.TempDir())
	for i := range 3 {
		if err := syscall.Kill(c.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the store is back", func() bool { return c.Restarts() == int64(i+1) && answers(c.Endpoint) })
	}
}

// TestSignals: what a terminal or a service manager sends to everybody does not
// take the store away from a daemon that still needs it.
func TestSignals(t *testing.T) {
	c := start(t, t.TempDir())
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if err := syscall.Kill(c.PID(), s); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		if !answers(c.Endpoint) {
			t.Fatal("the store is gone")
		}
	}
	if c.Restarts() != 0 {
		t.Error("the store died of it")
	}
}

// TestOneStore: a folder is served once.
func TestOneStore(t *testing.T) {
	dir := t.TempDir()
	c := start(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := embedstore.Start(ctx, dir); !ferry.IsKind(err, ferry.KindBusy) {
		t.Errorf("a second store on the folder: %v, want kind %q", err, ferry.KindBusy)
	}
	c.Stop()
	start(t, dir)
}

// TestParentKilled: kill -9 of the parent takes the child with it, and the next
// start finds folder and port free.
func TestParentKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "parent", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the parent did not start")
	}
	endpoint := lines.Text()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"
	eventually(t, "the child is gone", func() bool { return !answers(endpoint) })
	if c := start(t, dir); c.Endpoint != endpoint {
		t.Errorf("the store is at %s now, it was at %s", c.Endpoint, endpoint)
	}
}

func TestBadFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedstore.Start(t.Context(), file); !ferry.IsKind(err, ferry.KindDenied) {
		t.Errorf("a store in a file: %v", err)
	}
	// A child that cannot serve says why.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, embedstore.Bucket), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := embedstore.Start(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), "cannot be made") {
		t.Errorf("a store whose bucket is a file: %v", err)
	}
}
