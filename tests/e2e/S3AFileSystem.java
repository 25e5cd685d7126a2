// Stands in for the S3 driver that a company's metastore has and those of the tests have not: before a metastore takes a location it
// only asks whether a directory is there, makes it if not, and counts its files for figures that nobody believes. Here every directory is
// there and has no files. All else fails, so that a metastore which moved or removed files would be noticed.
package org.apache.hadoop.fs.s3a;

import java.io.IOException;
import java.net.URI;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.util.Progressable;

public class S3AFileSystem extends FileSystem {
    private URI bucket;

    /** The same for locations that begin with s3://. */
    public static class Plain extends S3AFileSystem {
        @Override
        public String getScheme() {
            return "s3";
        }
    }

    /** And for those with s3n://. */
    public static class Native extends S3AFileSystem {
        @Override
        public String getScheme() {
            return "s3n";
        }
    }

    @Override
    public String getScheme() {
        return "s3a";
    }

    @Override
    public void initialize(URI name, Configuration settings) throws IOException {
        super.initialize(name, settings);
        setConf(settings);
        bucket = URI.create(name.getScheme() + "://" + name.getAuthority());
    }

    @Override
    public URI getUri() {
        return bucket;
    }

    @Override
    public FileStatus getFileStatus(Path path) {
        return new FileStatus(0, true, 1, 0, 0, path);
    }

    @Override
    public boolean mkdirs(Path path, FsPermission rights) {
        return true;
    }

    @Override
    public FileStatus[] listStatus(Path path) {
        return new FileStatus[0];
    }

    @Override
    public boolean delete(Path path, boolean all) {
        throw new UnsupportedOperationException("removing " + path);
    }

    @Override
    public boolean rename(Path from, Path to) {
        throw new UnsupportedOperationException("moving " + from);
    }

    @Override
    public FSDataInputStream open(Path path, int buffer) {
        throw new UnsupportedOperationException("reading " + path);
    }

    @Override
    public FSDataOutputStream create(Path path, FsPermission rights, boolean over, int buffer, short copies, long block, Progressable told) {
        throw new UnsupportedOperationException("writing " + path);
    }

    @Override
    public FSDataOutputStream append(Path path, int buffer, Progressable told) {
        throw new UnsupportedOperationException("adding to " + path);
    }

    @Override
    public void setWorkingDirectory(Path path) {
        throw new UnsupportedOperationException("going to " + path);
    }

    @Override
    public Path getWorkingDirectory() {
        return new Path(bucket + "/");
    }
}
