// Uploads a file in parts, with progress. In a browser, `file` comes from an <input type="file">; in Node, from
// `await fs.openAsBlob(path)`. The bucket's CORS settings expose the ETag that each part needs.

export async function upload(file, { api, apiKey, name = file.name, contentType = file.type, onProgress = () => {} }) {
  const call = async (method, path, body) => {
    const headers = { "content-type": "application/json", "x-api-key": apiKey };
    const answer = await fetch(api + path, { method, headers, body: body && JSON.stringify(body) });
    if (answer.status === 204) return null;
    const found = await answer.json();
    if (!answer.ok) throw new Error(`${found.error}: ${found.message} ${found.details ?? ""} (${found.requestId})`);
    return found;
  };

  const wanted = { filename: name, contentType, size: file.size };
  const { key, uploadId, partSize, partCount, jobId } = await call("POST", "/uploads/multipart", wanted);
  const parts = [];
  try {
    while (parts.length < partCount) {
      const next = Array.from({ length: Math.min(100, partCount - parts.length) }, (_, n) => parts.length + n + 1);
      const asked = { key, uploadId, parts: next.map((partNumber) => ({ partNumber })) };
      const signed = await call("POST", "/uploads/multipart/parts", asked);
      for (const { partNumber, url, headers } of signed.parts) {
        const body = file.slice((partNumber - 1) * partSize, partNumber * partSize);
        const stored = await fetch(url, { method: "PUT", headers, body });
        if (!stored.ok) throw new Error(`part ${partNumber}: S3 answered ${stored.status}`);
        parts.push({ partNumber, etag: stored.headers.get("etag") });
        onProgress(Math.min(partNumber * partSize, file.size), file.size);
      }
    }
    await call("POST", "/uploads/multipart/complete", { key, uploadId, size: file.size, parts });
  } catch (error) {
    // Stored parts cost money until the upload is aborted.
    const where = new URLSearchParams({ key, uploadId });
    await call("DELETE", `/uploads/multipart?${where}`).catch(() => {});
    throw error;
  }
  return { key, jobId };
}
