// Package storetest is what tests need of an S3 server: MinIO as a child
// process, a proxy that injects faults of the network, and the contract that
// every implementation of syncer.Remote keeps on every server.
package storetest

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Server is a running S3 server that a test may kill.
type Server struct {
	Endpoint             string // URL
	AccessKey, SecretKey string
	// Kill ends the server at once (SIGKILL) and returns when it is gone; Start
	// starts it again with the same data at the same address.
	Kill  func()
	Start func()
}

// Client returns a plain S3 client: what any other tool would see.
func (s *Server) Client(t testing.TB) *minio.Client {
	t.Helper()
	c, err := minio.New(strings.TrimPrefix(s.Endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), MaxRetries: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// MakeBucket makes a bucket with a new name and returns the name.
func (s *Server) MakeBucket(t testing.TB) string {
	t.Helper()
	name := "test-" + strings.ToLower(rand.Text()[:12])
	if err := s.Client(t).MakeBucket(t.Context(), name, minio.MakeBucketOptions{}); err != nil {
		t.Fatalf("cannot make bucket %s: %v", name, err)
	}
	return name
}

// FreeAddr returns an address on loopback that nobody listens on.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Child runs a server as a child process that dies with the test. command makes
// a new command for each start; ready is a URL that answers 200 when the server
// is up.
func Child(t testing.TB, s *Server, ready string, command func() *exec.Cmd) *Server {
	t.Helper()
	var (
		mu  sync.Mutex
		cmd *exec.Cmd
	)
	kill := func() {
		mu.Lock()
		defer mu.Unlock()
		if cmd == nil {
			return
		}
		_ = cmd.Process.Kill() // it may be gone already
		_ = cmd.Wait()         // "signal: killed"
		cmd = nil
	}
	start := func() {
		mu.Lock()
		defer mu.Unlock()
		if cmd != nil {
			return
		}
		log, err := os.CreateTemp(t.TempDir(), "server-*.log")
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		c := command()
		c.Stdout, c.Stderr = log, log
		if c.SysProcAttr == nil {
			c.SysProcAttr = &syscall.SysProcAttr{}
		}
		c.SysProcAttr.Pdeathsig = syscall.SIGKILL
		if err := c.Start(); err != nil {
			t.Fatalf("cannot start the server: %v", err)
		}
		cmd = c
		if err := waitReady(ready, 30*time.Second); err != nil {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("the server at %s does not come up: %v\n%s", ready, err, text)
		}
	}
	s.Kill, s.Start = kill, start
	t.Cleanup(kill)
	start()
	return s
}

func waitReady(url string, patience time.Duration) error {
	client := &http.Client{Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	deadline := time.Now().Add(patience)
	for {
		resp, err := client.Get(url)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("answers %s", resp.Status)
		}
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// StartMinIO starts a MinIO server on free loopback ports with random keys and
// an empty data directory. The binary is FERRY_TEST_MINIO or bin/minio of the
// repository; the test fails if it is not there, and is skipped with -short.
func StartMinIO(t testing.TB) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs MinIO; -short")
	}
	binary := os.Getenv("FERRY_TEST_MINIO")
	if binary == "" {
		binary = filepath.Join(repository(t), "bin", "minio")
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("there is no MinIO at %s: run make minio, or set FERRY_TEST_MINIO (%v)", binary, err)
	}
	addr, console, dir := FreeAddr(t), FreeAddr(t), t.TempDir()
	s := &Server{Endpoint: "http://" + addr, AccessKey: "test" + rand.Text()[:10], SecretKey: rand.Text()}
	return Child(t, s, s.Endpoint+"/minio/health/ready", func() *exec.Cmd {
		cmd := exec.Command(binary, "server", dir, "--address", addr, "--console-address", console, "--quiet")
		cmd.Env = append(os.Environ(),
			"MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey, "MINIO_BROWSER=off", "MINIO_CI_CD=1",
			"MINIO_UPDATE=off", "GOMEMLIMIT=256MiB", "HOME="+dir)
		return cmd
	})
}

// repository returns the root of the module.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}
