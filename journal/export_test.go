package journal

// Abandon ends j as kill -9 would: nothing is made durable or folded.
func (j *Journal) Abandon() error {
	var err error
	j.closing.Do(func() {
		j.stop()
		err = j.closeFiles()
	})
	return err
}

// Fold folds now.
func (j *Journal) Fold() error { return j.fold() }

// SmallBatches makes changes large that would not be.
func (o *Options) SmallBatches(record, chunk, moveRows int) {
	o.recordMax, o.chunkMax, o.moveRows = record, chunk, moveRows
}
