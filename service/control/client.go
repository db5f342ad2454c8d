package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"ferry"
)

// Client speaks to one daemon. Safe for concurrent use.
type Client struct {
	Mount Mount // as registered
	http  http.Client
}

// NewClient returns a client of the daemon that m names; nothing is sent yet.
func NewClient(m Mount) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) { return dialUnix(ctx, m.Socket) }
	return &Client{Mount: m, http: http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status returns what is not in the bucket at or below path ("" is everything).
func (c *Client) Status(ctx context.Context, path string) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/status?path="+url.QueryEscape(path), nil, &s)
}

// Uploads lists the uploads that are not stored, oldest first.
func (c *Client) Uploads(ctx context.Context) (u []Upload, err error) {
	return u, c.call(ctx, http.MethodGet, "/v1/uploads", nil, &u)
}

// Upload returns one upload.
func (c *Client) Upload(ctx context.Context, id string) (u Upload, err error) {
	return u, c.call(ctx, http.MethodGet, "/v1/uploads/"+url.PathEscape(id), nil, &u)
}

// Retry lets a parked upload, or a parked key, go on.
func (c *Client) Retry(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPost, "/v1/uploads/"+url.PathEscape(id)+"/retry", nil, nil)
}

// Cancel gives up an upload with its bytes.
func (c *Client) Cancel(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPost, "/v1/uploads/"+url.PathEscape(id)+"/cancel", nil, nil)
}

// Jobs lists delete jobs, newest first.
func (c *Client) Jobs(ctx context.Context) (j []Job, err error) {
	return j, c.call(ctx, http.MethodGet, "/v1/jobs", nil, &j)
}

// Job returns one delete job.
func (c *Client) Job(ctx context.Context, id string) (j Job, err error) {
	return j, c.call(ctx, http.MethodGet, "/v1/jobs/"+url.PathEscape(id), nil, &j)
}

// Cache returns how full the read buffers are.
func (c *Client) Cache(ctx context.Context) (r CacheReport, err error) {
	return r, c.call(ctx, http.MethodGet, "/v1/cache", nil, &r)
}

// DropCache makes daemon and kernel forget what they hold of stored files.
func (c *Client) DropCache(ctx context.Context) (r CacheReport, err error) {
	return r, c.call(ctx, http.MethodPost, "/v1/cache/drop", nil, &r)
}

// Doctor returns the daemon's findings.
func (c *Client) Doctor(ctx context.Context) (r Report, err error) {
	return r, c.call(ctx, http.MethodGet, "/v1/doctor", nil, &r)
}

// Wait blocks until everything at and below paths is stored; a *Fault with
// CodeParked says that it will not be.
func (c *Client) Wait(ctx context.Context, paths []string, report func(Progress)) error {
	return c.stream(ctx, "/v1/wait", WaitRequest{Paths: paths}, report)
}

// Umount drains (unless now) and unmounts. When it has returned nil nothing is
// mounted any more and the daemon is about to end.
func (c *Client) Umount(ctx context.Context, now bool, report func(Progress)) error {
	return c.stream(ctx, "/v1/umount", UmountRequest{Now: now}, report)
}

func (c *Client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://ferry"+path, &body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &ferry.Error{
			Op: "control.call", Key: c.Mount.Mountpoint, Kind: ferry.KindTransient,
			Msg: fmt.Sprintf("the daemon of mount %s (process %d) does not answer", c.Mount.Name, c.Mount.PID), Err: err,
		}
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	var fault Fault
	if err := json.NewDecoder(resp.Body).Decode(&fault); err != nil || fault.Text == "" {
		return nil, &Fault{Code: ferry.KindInternal.String(), Text: "the daemon answered " + resp.Status}
	}
	return nil, &fault
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

func (c *Client) stream(ctx context.Context, path string, in any, report func(Progress)) error {
	resp, err := c.do(ctx, http.MethodPost, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxBody)
	for lines.Scan() {
		var p Progress
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return &Fault{Code: ferry.KindInternal.String(), Text: "the daemon's answer is not JSON: " + err.Error()}
		}
		switch {
		case p.Error != nil:
			return p.Error
		case p.Done:
			return nil
		case report != nil:
			report(p)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &ferry.Error{
		Op: "control.stream", Key: c.Mount.Mountpoint, Kind: ferry.KindTransient,
		Msg: "the daemon ended before it was done", Err: lines.Err(),
		Hint: "what was written is kept: mount again and it goes on",
	}
}
