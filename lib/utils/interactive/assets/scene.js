// The 3D scene: body, ground truth, cameras, floor.

class Scene {
  constructor(parent) {
    this.parent = parent;
    this.renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true });
    this.renderer.setPixelRatio(window.devicePixelRatio || 1);
    parent.append(this.renderer.domElement);
    this.scene = new THREE.Scene();
    this.scene.add(new THREE.HemisphereLight(0xffffff, 0xc8ccd0, 3.0));
    const sun = new THREE.DirectionalLight(0xffffff, 1.2);
    sun.position.set(2, -3, 6);
    this.scene.add(sun);
    this.camera = new THREE.PerspectiveCamera(35, 1, 0.05, 500);
    this.camera.up.set(0, 0, 1);
    this.controls = new THREE.OrbitControls(this.camera, this.renderer.domElement);
    this.controls.enableDamping = false;
    this.controls.addEventListener("change", () => this.render());
    this.pose = this.makeBody(0.022, 0.03);
    this.gt = this.makeBody(0.009, 0.014);
    this.material = new THREE.LineBasicMaterial();
    this.gridMaterial = new THREE.LineBasicMaterial();
    this.floor = this.makeFloor();
    this.scene.add(this.floor);
    this.rigs = data.rigs.map((rig) => this.makeRig(rig));
    this.labels = names.map((name) => element("span", name, parent));
  }

  makeBody(limbRadius, jointRadius) {
    const limb = new THREE.CylinderGeometry(limbRadius, limbRadius, 1, 16);
    const joint = new THREE.SphereGeometry(jointRadius, 20, 14);
    const { edges, sides } = data.skeleton;
    const body = {
      limbs: new THREE.InstancedMesh(limb, new THREE.MeshLambertMaterial(), edges.length),
      joints: new THREE.InstancedMesh(joint, new THREE.MeshLambertMaterial(), sides.length),
    };
    for (const mesh of Object.values(body)) {
      mesh.frustumCulled = false;
      this.scene.add(mesh);
    }
    return body;
  }

  paint(body, colorOf) {
    const color = new THREE.Color();
    data.skeleton.edges.forEach((edge, limb) =>
      body.limbs.setColorAt(limb, color.set(colorOf(data.skeleton.sides[edge[1]]))),
    );
    data.skeleton.sides.forEach((side, joint) => body.joints.setColorAt(joint, color.set(colorOf(side))));
    body.limbs.instanceColor.needsUpdate = body.joints.instanceColor.needsUpdate = true;
  }

  place(body, pose, visible) {
    const points = pose.map((point) => point && meters(point));
    const hidden = new THREE.Matrix4().makeScale(0, 0, 0);
    const matrix = new THREE.Matrix4();
    const unit = new THREE.Vector3(1, 1, 1);
    const up = new THREE.Vector3(0, 1, 0);
    points.forEach((point, joint) =>
      body.joints.setMatrixAt(joint, point ? matrix.makeTranslation(point.x, point.y, point.z) : hidden),
    );
    data.skeleton.edges.forEach(([parent, child], limb) => {
      const [from, to] = [points[parent], points[child]];
      if (!from || !to) return body.limbs.setMatrixAt(limb, hidden);
      const along = to.clone().sub(from);
      const length = Math.max(along.length(), 1e-6);
      const turn = new THREE.Quaternion().setFromUnitVectors(up, along.divideScalar(length));
      matrix.compose(from.clone().lerp(to, 0.5), turn, unit.clone().setY(length));
      body.limbs.setMatrixAt(limb, matrix);
    });
    for (const mesh of Object.values(body)) {
      mesh.instanceMatrix.needsUpdate = true;
      mesh.visible = visible;
    }
  }

  makeFloor() {
    const places = [center, ...data.rigs.flat().map((camera) => camera.T)];
    const reach = (axis, choose, round) =>
      round(choose(...places.map((place) => place[axis] / 1000)) + (round === Math.ceil ? 1 : -1));
    const [x0, y0] = [0, 1].map((axis) => reach(axis, Math.min, Math.floor));
    const [x1, y1] = [0, 1].map((axis) => reach(axis, Math.max, Math.ceil));
    const step = Math.max(1, Math.ceil(Math.max(x1 - x0, y1 - y0) / 60)); // m; 1 except for very large rigs
    const points = [];
    for (let x = x0; x <= x1; x += step) points.push(x, y0, 0, x, y1, 0);
    for (let y = y0; y <= y1; y += step) points.push(x0, y, 0, x1, y, 0);
    const floor = new THREE.LineSegments(lines(points), this.gridMaterial);
    floor.position.z = data.floor / 1000;
    return floor;
  }

  makeRig(rig) {
    const group = new THREE.Group();
    const points = [];
    for (const camera of rig) {
      const apex = camera.T.map((value) => value / 1000);
      const depth = 0.07 * Math.max(1, meters(camera.T).distanceTo(meters(center)));
      const corner = (u, v) => {
        const ray = [
          (u * camera.size[0] - camera.c[0]) / camera.f[0],
          (v * camera.size[1] - camera.c[1]) / camera.f[1],
          1,
        ];
        return apex.map(
          (value, axis) =>
            value + depth * (ray[0] * camera.R[0][axis] + ray[1] * camera.R[1][axis] + ray[2] * camera.R[2][axis]),
        );
      };
      const corners = [corner(0, 0), corner(1, 0), corner(1, 1), corner(0, 1)];
      corners.forEach((point, index) => points.push(...apex, ...point, ...point, ...corners[(index + 1) % 4]));
      points.push(...corner(0.35, 0), ...corner(0.5, -0.22), ...corner(0.5, -0.22), ...corner(0.65, 0)); // upper side
    }
    group.add(new THREE.LineSegments(lines(points), this.material));
    this.scene.add(group);
    return group;
  }

  // Look at points from the front, slightly from above, so that all of them are in the picture.
  fit(points, margin) {
    const [azimuth, elevation] = [data.azimuth, 0.24];
    const toCamera = new THREE.Vector3(
      -Math.cos(azimuth) * Math.cos(elevation),
      -Math.sin(azimuth) * Math.cos(elevation),
      Math.sin(elevation),
    );
    const right = new THREE.Vector3(0, 0, 1).cross(toCamera).normalize();
    const upward = toCamera.clone().cross(right);
    const middleOf = (axis) =>
      (Math.min(...points.map((point) => point.dot(axis))) + Math.max(...points.map((point) => point.dot(axis)))) / 2;
    const target = [toCamera, right, upward].reduce(
      (sum, axis) => sum.addScaledVector(axis, middleOf(axis)),
      new THREE.Vector3(),
    );
    const slope = Math.tan((this.camera.fov * Math.PI) / 360) / margin;
    const distance = Math.max(
      ...points.map((point) => {
        const away = point.clone().sub(target);
        return (
          away.dot(toCamera) +
          Math.max(Math.abs(away.dot(right)) / (slope * this.camera.aspect), Math.abs(away.dot(upward)) / slope)
        );
      }),
    );
    this.controls.target.copy(target);
    this.camera.position.copy(target).addScaledVector(toCamera, distance);
    this.controls.update();
    this.render();
  }

  // Corners of the box around the person: around the pose of the frame if the camera follows it, else around all poses.
  personCorners() {
    const known = options.follow ? data.poses[state.frame].filter((point) => point) : [];
    const [low, high] = known.length
      ? [Math.min, Math.max].map((choose) => [0, 1, 2].map((axis) => choose(...known.map((point) => point[axis]))))
      : [data.low, data.high];
    return [...Array(8).keys()].map(
      (corner) => new THREE.Vector3(...[0, 1, 2].map((axis) => ((corner >> axis) & 1 ? high : low)[axis] / 1000)),
    );
  }

  fitPerson() {
    this.fit(this.personCorners(), 1.25);
  }

  fitCameras() {
    this.fit([...this.personCorners(), ...rigOf(state.frame).map((camera) => meters(camera.T))], 1.12);
  }

  show(frame) {
    this.place(this.pose, data.poses[frame], options.prediction);
    if (data.gt) this.place(this.gt, data.gt[frame], options.gt);
    this.rigs.forEach((rig, index) => {
      rig.visible = options.cameras && index === data.rig[frame];
    });
    const place = options.follow && middle(frame);
    if (place) {
      const moved = meters(place).sub(this.controls.target);
      this.controls.target.add(moved);
      this.camera.position.add(moved);
      this.controls.update();
    }
    this.frame = frame;
    this.render();
  }

  restyle() {
    this.material.color.set(themed("--camera"));
    this.gridMaterial.color.set(themed("--grid"));
    this.paint(this.pose, (side) => data.colors[side]);
    this.paint(this.gt, () => themed("--gt"));
    if (!data.gt) for (const mesh of Object.values(this.gt)) mesh.visible = false;
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.parent;
    if (!width || !height) return;
    this.renderer.setSize(width, height);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.render();
  }

  render() {
    this.renderer.render(this.scene, this.camera);
    rigOf(this.frame ?? 0).forEach((camera, view) => {
      const point = meters(camera.T).project(this.camera);
      const label = this.labels[view];
      label.hidden = !options.cameras || point.z > 1 || Math.max(Math.abs(point.x), Math.abs(point.y)) > 0.97;
      const [x, y] = [((point.x + 1) / 2) * this.parent.clientWidth, ((1 - point.y) / 2) * this.parent.clientHeight];
      const left = Math.min(x + 8, this.parent.clientWidth - label.offsetWidth - 4);
      label.style.transform = `translate(${left}px, ${y - 20}px)`;
    });
  }
}

const meters = (point) => new THREE.Vector3(...point).multiplyScalar(1e-3);

function lines(points) {
  return new THREE.BufferGeometry().setAttribute("position", new THREE.BufferAttribute(new Float32Array(points), 3));
}

const center = data.low.map((value, axis) => (value + data.high[axis]) / 2);
const rigOf = (frame) => data.rigs[data.rig[frame]];

// Mean of the known joints, or null.
function middle(frame) {
  const known = data.poses[frame].filter((point) => point);
  return known.length
    ? [0, 1, 2].map((axis) => known.reduce((sum, point) => sum + point[axis], 0) / known.length)
    : null;
}
