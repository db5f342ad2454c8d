package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// server is a MinIO child process on loopback with keys made for this run.
type server struct {
	endpoint string // URL
	user     string
	secret   string
	cmd      *exec.Cmd
	done     chan struct{} // closed when the process has ended
	log      *os.File
}

// startServer starts MinIO on a free port with its data below dir and returns
// when it answers.
func startServer(ctx context.Context, bin, dir string) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &server{
		endpoint: fmt.Sprintf("http://127.0.0.1:%d", port),
		user:     "bench" + rand.Text()[:8],
		secret:   rand.Text(),
		done:     make(chan struct{}),
	}
	if s.log, err = os.Create(filepath.Join(dir, "minio.log")); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(bin, "server", "--quiet",
		"--address", fmt.Sprintf("127.0.0.1:%d", port),
		"--certs-dir", filepath.Join(dir, "certs"), filepath.Join(dir, "minio"))
	s.cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+s.user, "MINIO_ROOT_PASSWORD="+s.secret, "MINIO_BROWSER=off", "MINIO_UPDATE=off")
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	// A group of its own: Ctrl-C is for us, and we stop the server last.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("MinIO does not start: %w", err)
	}
	go func() {
		_ = s.cmd.Wait() // how it ended is in its log
		close(s.done)
	}()
	if err := s.waitReady(ctx, 30*time.Second); err != nil {
		s.stop()
		text, _ := os.ReadFile(s.log.Name())
		return nil, fmt.Errorf("%w: %s", err, firstLines(string(text), 5))
	}
	return s, nil
}

func (s *server) waitReady(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		if serverReady(ctx, s.endpoint) {
			return nil
		}
		select {
		case <-s.done:
			return errors.New("MinIO ended at once")
		case <-ctx.Done():
			return fmt.Errorf("MinIO did not answer within %s", limit)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// serverReady reports whether something that speaks HTTP without a server error
// answers at the endpoint. Only MinIO knows its health path; another store says
// 403 or 404, which is an answer too.
func serverReady(ctx context.Context, endpoint string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/minio/health/ready", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode < 500
}

func (s *server) stop() {
	endProcess(s.cmd, s.done, 5*time.Second)
	s.log.Close()
}
