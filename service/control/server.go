package control

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"
)

// Daemon is what the control API asks of the running mount. All methods may be
// called concurrently; errors are *ferry.Error or *Fault.
type Daemon interface {
	// Status reports on what lies at or below path ("" is everything).
	Status(ctx context.Context, path string) (Status, error)
	Uploads(ctx context.Context) ([]Upload, error)
	Upload(ctx context.Context, id string) (Upload, error)
	Retry(ctx context.Context, id string) error
	Cancel(ctx context.Context, id string) error
	// Wait blocks until everything at and below the paths is stored, and calls
	// report now and then. What is parked ends it with CodeParked.
	Wait(ctx context.Context, paths []string, report func(Progress)) error
	// Umount drains (unless now), unmounts, and makes the daemon end.
	Umount(ctx context.Context, now bool, report func(Progress)) error
	Jobs(ctx context.Context) ([]Job, error)
	Job(ctx context.Context, id string) (Job, error)
	Cache(ctx context.Context) (CacheReport, error)
	DropCache(ctx context.Context) (CacheReport, error)
	Doctor(ctx context.Context) (Report, error)
}

// maxBody bounds what a client may send.
const maxBody = 1 << 20

// Server answers on one socket.
type Server struct {
	daemon Daemon
	log    *slog.Logger
	listen net.Listener
	http   http.Server

	mu       sync.Mutex
	closed   bool
	handlers sync.WaitGroup
}

// NewServer listens at path, which must not exist or be a socket that nobody
// serves; the file gets mode 0600. The caller ends it with Close.
func NewServer(path string, d Daemon, log *slog.Logger) (*Server, error) {
	l, err := listenUnix(path)
	if err != nil {
		return nil, err
	}
	s := &Server{daemon: d, log: log, listen: l}
	s.http = http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	return s, nil
}

// lastWords is how long answers may take to get out once ctx has ended.
const lastWords = 2 * time.Second

// Run serves until ctx ends. Requests under way see ctx end, their answers get a
// moment to be delivered, then all connections are cut.
func (s *Server) Run(ctx context.Context) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	down := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(down)
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		if s.http.Shutdown(last) != nil {
			_ = s.http.Close()
		}
	})
	err := s.http.Serve(s.listen)
	if !stop() {
		<-down
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.handlers.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close gives the socket back if Run was never called.
func (s *Server) Close() error { return s.listen.Close() }

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	d := s.daemon
	get := func(pattern string, f func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, f) })
	}
	get("GET /v1/status", func(r *http.Request) (any, error) { return d.Status(r.Context(), r.URL.Query().Get("path")) })
	get("GET /v1/uploads", func(r *http.Request) (any, error) { return d.Uploads(r.Context()) })
	get("GET /v1/uploads/{id}", func(r *http.Request) (any, error) { return d.Upload(r.Context(), r.PathValue("id")) })
	// A key is the ID of what is parked without an upload: its slashes come escaped.
	get("POST /v1/uploads/{id}/retry", func(r *http.Request) (any, error) { return none, d.Retry(r.Context(), r.PathValue("id")) })
	get("POST /v1/uploads/{id}/cancel", func(r *http.Request) (any, error) { return none, d.Cancel(r.Context(), r.PathValue("id")) })
	get("GET /v1/jobs", func(r *http.Request) (any, error) { return d.Jobs(r.Context()) })
	get("GET /v1/jobs/{id}", func(r *http.Request) (any, error) { return d.Job(r.Context(), r.PathValue("id")) })
	get("GET /v1/cache", func(r *http.Request) (any, error) { return d.Cache(r.Context()) })
	get("POST /v1/cache/drop", func(r *http.Request) (any, error) { return d.DropCache(r.Context()) })
	get("GET /v1/doctor", func(r *http.Request) (any, error) { return d.Doctor(r.Context()) })
	mux.HandleFunc("POST /v1/wait", s.wait)
	mux.HandleFunc("POST /v1/umount", s.umount)

	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	return s.count(mux)
}

var none = struct{}{}

// count lets Run wait for handlers: http.Server.Close does not.
func (s *Server) count(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return
		}
		s.handlers.Add(1)
		s.mu.Unlock()
		defer s.handlers.Done()
		h.ServeHTTP(w, r)
	})
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, f func(*http.Request) (any, error)) {
	w.Header().Set("Content-Type", "application/json")
	v, err := f(r)
	if err != nil {
		fault := NewFault(err)
		w.WriteHeader(httpStatus(fault.Kind()))
		v = fault
	}
	if err := json.NewEncoder(w).Encode(v); err != nil && r.Context().Err() == nil {
		s.log.Debug("control answer not delivered", "path", r.URL.Path, "err", err)
	}
}

func (s *Server) wait(w http.ResponseWriter, r *http.Request) {
	var req WaitRequest
	if !s.body(w, r, &req) {
		return
	}
	st := newStream(w)
	st.finish(s.daemon.Wait(r.Context(), req.Paths, st.send))
}

func (s *Server) umount(w http.ResponseWriter, r *http.Request) {
	var req UmountRequest
	if !s.body(w, r, &req) {
		return
	}
	st := newStream(w)
	st.finish(s.daemon.Umount(r.Context(), req.Now, st.send))
}

func (s *Server) body(w http.ResponseWriter, r *http.Request, v any) bool {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(v)
	if err != nil {
		s.answer(w, r, func(*http.Request) (any, error) {
			return nil, invalid("the request's body is not as expected: %v", err)
		})
		return false
	}
	return true
}

// stream writes one JSON object a line and flushes each.
type stream struct {
	mu  sync.Mutex
	enc *json.Encoder
	out *http.ResponseController
}

func newStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	return &stream{enc: json.NewEncoder(w), out: http.NewResponseController(w)}
}

// send writes one line. A client that went away ends its request's context,
// which is how the daemon learns of it, so errors say nothing new here.
func (s *stream) send(p Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.enc.Encode(p) == nil {
		_ = s.out.Flush()
	}
}

func (s *stream) finish(err error) {
	if err != nil {
		s.send(Progress{Error: NewFault(err)})
		return
	}
	s.send(Progress{Done: true})
}
